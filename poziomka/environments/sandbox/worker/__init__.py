"""Code that runs inside a sandboxed process, and the messages that it exchanges."""
