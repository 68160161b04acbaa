"""Listening sockets as targets of attacks; connections and messages are recorded."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Listeners:
    """Listening sockets of every kind that needs no privileges.

    Args:
        folder: folder for the sockets that are files.
        name: name of the abstract socket.

    Attributes:
        tcp, tcp6, udp: ports on the loopback interface; tcp6 is 0 without IPv6.
        unix, letters: paths of Unix sockets, for connections (stream) and for messages (datagram).
        abstract: name of the abstract Unix socket, which has no file; Linux only.
    """

    def __init__(self, folder: str, name: str) -> None:
        """Opens the sockets."""
        self._open: dict[str, socket.socket] = {}
        self.unix, self.letters, self.abstract = f"{folder}/socket", f"{folder}/letters", f"\0{name}"
        self.tcp = self._listen("a TCP connection", socket.AF_INET, ("127.0.0.1", 0))
        self.udp = self._listen("a UDP message", socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)
        self.tcp6 = 0
        with suppress(OSError):
            self.tcp6 = self._listen("a TCP connection over IPv6", socket.AF_INET6, ("::1", 0))
        self._listen("a Unix connection", socket.AF_UNIX, self.unix)
        self._listen("a Unix message", socket.AF_UNIX, self.letters, socket.SOCK_DGRAM)
        with suppress(OSError):
            self._listen("an abstract Unix connection", socket.AF_UNIX, self.abstract)

    def heard(self) -> list[str]:
        """Returns a sentence for each connection or message since the last call, and closes the connections."""
        found = []
        for what, end in self._open.items():
            while True:
                try:
                    if end.type == socket.SOCK_DGRAM:
                        end.recv(65536)
                    else:
                        end.accept()[0].close()
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
                        found.append(f"{what} failed: {error}")
                    break
                found.append(f"{what} reached a socket of ours")
        return found

    def close(self) -> None:
        """Closes the sockets."""
        for end in self._open.values():
            end.close()

    def _listen(self, what: str, family: int, where: object, kind: int = socket.SOCK_STREAM) -> int:
        end = socket.socket(family, kind)
        try:
            end.bind(where)  # type: ignore[arg-type]  # an address of its family
            if kind == socket.SOCK_STREAM:
                end.listen(64)
        except OSError:
            end.close()
            raise
        end.setblocking(False)
        if isinstance(where, str) and not where.startswith("\0"):
            os.chmod(where, 0o777)  # noqa: PTH101, S103 open to all users, so that only the interpreter protects it
        self._open[what] = end
        bound = end.getsockname()
        return int(bound[1]) if isinstance(bound, tuple) else 0


def free_port() -> int:
    """Returns a free port on the loopback interface."""
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        return int(end.getsockname()[1])


@contextmanager
def knocking(port: int) -> Iterator[list[str]]:
    """Connects to a loopback port repeatedly within the context.

    Yields a list, to which a sentence is added once a connection succeeds.
    """
    opened: list[str] = []
    over = threading.Event()

    def knock() -> None:
        while not over.is_set() and not opened:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
                opened.append("a connection of ours was taken")
            over.wait(0.01)

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        yield opened
    finally:
        over.set()
        thread.join()
