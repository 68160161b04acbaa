"""Files, sockets and processes that sandbox attacks are aimed at."""
