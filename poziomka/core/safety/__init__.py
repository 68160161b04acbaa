"""Reading untrusted files, printing untrusted text, ending processes."""
