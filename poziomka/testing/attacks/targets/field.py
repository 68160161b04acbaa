"""A folder of canary files that attacks may try to read and change."""

import hashlib
import os
import shutil
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

from poziomka.core.seeds import random_of

HIDDEN = "hidden_tests.json"  # file name of the hidden tests, as in a naive environment


class Field:
    """A folder with a file, a module, a database, hidden tests and a folder, all readable and writable by all users.

    So only the interpreter, and not file permissions, can keep an attack from them.

    Args:
        path: path of the folder, which is created.
        name: name from which the secrets are derived.

    Attributes:
        secrets: contents of the secrets, by their location.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Creates the folder and records its state."""
        self.path = path
        random = random_of("canaries", name)
        what = ("a file", "a module", "a database", "hidden tests", "a file's name")
        self.secrets = {one: f"canary-{random.getrandbits(80):020x}" for one in what}
        moment = 10**18 + random.randrange(10**17)  # nanoseconds
        path.mkdir()
        (path / "canary").write_text(f"{self.secrets['a file']}\n", encoding="utf-8")
        (path / "planted.py").write_text(f"SECRET = {self.secrets['a module']!r}\n", encoding="utf-8")
        (path / HIDDEN).write_text(f'{{"tests": "{self.secrets["hidden tests"]}"}}\n', encoding="utf-8")
        (path / self.secrets["a file's name"]).touch()
        (path / "inner").mkdir()
        base = sqlite3.connect(path / "planted.db")
        base.execute("pragma synchronous = off")
        base.execute("create table planted (secret text)")
        base.execute("insert into planted values (?)", (self.secrets["a database"],))
        base.commit()
        base.close()
        os.utime(path / "canary", ns=(moment, moment))
        self.secrets["a file's time"] = str(moment)
        for one in (path, *path.iterdir()):
            one.chmod(0o777 if one.is_dir() else 0o666)
        self._was = self._state()

    def changes(self) -> list[str]:
        """Returns a sentence for each change of the folder since it was created."""
        now = self._state()
        names = sorted({*self._was, *now}, key=str)
        return [f"a file of ours, {name}, {_how(self._was.get(name), now.get(name))}" for name in names
                if self._was.get(name) != now.get(name)]  # fmt: skip

    def close(self) -> None:
        """Removes the folder."""
        with suppress(OSError):
            shutil.rmtree(self.path)

    def _state(self) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        for one in (self.path, *self.path.rglob("*")):
            with suppress(OSError):
                about = one.lstat()
                content = ""
                if stat.S_ISREG(about.st_mode):
                    content = hashlib.sha256(one.read_bytes()).hexdigest()
                elif stat.S_ISLNK(about.st_mode):
                    content = str(one.readlink())
                change = about.st_ctime_ns  # changes with owner, mode, times, attributes, links
                name = str(one.relative_to(self.path))
                found[name] = (content, about.st_mode, about.st_uid, about.st_ino, about.st_nlink, change)
        return found


def _how(was: tuple[object, ...] | None, now: tuple[object, ...] | None) -> str:
    if was is None:
        return "is new"
    if now is None:
        return "is gone"
    return "has another content" if was[0] != now[0] else "has another mode, owner, time, attribute or link"
