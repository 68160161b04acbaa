"""Writes the standard input of a program and reads its output, up to a size limit."""

import os
import select
import time

from poziomka.environments.sandbox.fork_client import Forked

SAID = 2000  # last bytes of standard error that are kept


class Streams:
    """Writes the standard input of a forked program and reads its standard output and standard error.

    Args:
        forked: process of the program.
        text: bytes for its standard input.
        most: maximum bytes of standard output and standard error together.

    Attributes:
        output: standard output read so far.
        said: the last 2,000 bytes (SAID) of the standard error read so far.
    """

    def __init__(self, forked: Forked, text: bytes, most: int) -> None:
        """Makes the pipe to the program non-blocking; reads nothing yet."""
        self.output, self.said = bytearray(), bytearray()
        self._forked = forked
        self._text = memoryview(text)
        self._most = most
        self._seen = 0
        self._open = {forked.reading: self.output, forked.errors: self.said}
        os.set_blocking(forked.writing, False)

    def read(self, left: float) -> bool:
        """Writes input and reads output until the program ends; returns whether it wrote more than `most` bytes.

        Also returns when the timeout has passed, or when the program has written more than `most` bytes.

        Args:
            left: timeout in seconds.
        """
        poll = select.poll()
        for descriptor in (self._forked.process, *self._open):
            poll.register(descriptor, select.POLLIN)
        poll.register(self._forked.writing, select.POLLOUT)
        until = time.monotonic() + left
        while (left := until - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(max(left * 1000, 1)):
                if descriptor == self._forked.process:
                    return False
                if descriptor == self._forked.writing:
                    if self._fed():
                        poll.unregister(descriptor)
                        self._forked.close("writing")
                elif not self._take(descriptor):
                    poll.unregister(descriptor)
                if self._seen > self._most:
                    return True
        return False

    def drain(self) -> bool:
        """Reads the remaining output of a program that has ended; returns whether it wrote more than `most` bytes."""
        for descriptor in self._open:
            while self._seen <= self._most and self._take(descriptor):
                pass
        return self._seen > self._most

    def _take(self, descriptor: int) -> bool:
        part = os.read(descriptor, 65536)
        kept = self._open[descriptor]
        kept += part
        self._seen += len(part)
        if kept is self.said:
            del self.said[:-SAID]
        return bool(part)

    def _fed(self) -> bool:
        """Writes a part of the input; returns whether it was the last part, or the program has closed its input."""
        try:
            self._text = self._text[os.write(self._forked.writing, self._text[:65536]) :]
        except BlockingIOError:
            return False
        except OSError:
            return True
        return not self._text
