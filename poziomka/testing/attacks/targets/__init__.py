"""Files, sockets and processes as targets of sandbox attacks."""
