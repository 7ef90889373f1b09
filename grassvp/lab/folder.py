"""The directory of a record: made when needed, its files written whole or not at all, and listed."""

import contextlib
import os
import re
from pathlib import Path

from grassvp.errors import ArgumentError
from grassvp.lab.storage import RecordError, write_bytes


class Folder:
    """A directory and the names of the files stored in it.

    Attributes:
        path: the directory, absolute.
        files: names of the files stored so far.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        self.files: list[str] = []
        self._made: list[Path] = []

    def make(self) -> None:
        """Make the directory if it is not there.

        Raises:
            ArgumentError: it cannot be made or written to.
        """
        missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ArgumentError(f"directory must be one that can be made, got {self.path} ({reason})") from error
        self._made = missing
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise ArgumentError(f"directory must be one that can be written to, got {self.path}")

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically.

        Raises:
            RecordError: it cannot be written; the file that was there before is unchanged.
        """
        path = self.path / name
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_bytes(path, data)
        except OSError as error:
            raise RecordError(f"{path}: cannot be written ({error.strerror or error})") from error

    def remove(self, names: list[str]) -> None:
        """Remove files of the directory; names that lead out of it are left alone."""
        for name in names:
            if Path(name).name == name:
                with contextlib.suppress(OSError):
                    (self.path / name).unlink()

    def discard(self) -> None:
        """Remove the directories that `make` made, as far as they are empty."""
        for directory in self._made:
            with contextlib.suppress(OSError):
                directory.rmdir()


def check_name(name: str, *reserved: str) -> str:
    """The name, if it can name a file of a record.

    Raises:
        ArgumentError: it is reserved, or is not letters, digits and ``._-`` beginning with a letter or digit.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ArgumentError(f"name must be letters, digits and '._-', beginning with a letter or digit, got {name!r}")
    if name in reserved:
        raise ArgumentError(f"name must not be {name!r}: Record.{name} uses it")
    return name
