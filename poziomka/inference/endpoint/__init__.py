"""Parts of `RemoteSampler`: the address, the HTTP connection, messages, replies, and continued replies."""
