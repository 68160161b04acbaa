"""Safe reading of untrusted files, safe printing of untrusted text, and killing of process trees."""
