"""Opening the files that a user names, unless they are pipes or devices, and making folders."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | Path) -> BinaryIO:
    """``path`` opened for reading bytes, without ever waiting.

    `OSError` if it is missing, may not be read, is a link to itself, or is no regular file: reading a pipe may wait for
    ever, and a device may never end.
    """
    check_regular(path)  # opening alone sets some devices going
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  it is the caller's to close
    try:
        _check(os.fstat(file.fileno()), path)  # it may have been replaced in between
    except OSError:
        file.close()
        raise
    return file


def check_regular(path: str | Path) -> None:
    """Raise the `OSError` of `open_regular`, for a library that opens ``path`` by its name."""
    _check(os.stat(path), path)


def _check(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is not a file but {kind}", str(path))


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make ``folder`` and its parents; if the block fails, those that are new and empty are removed again."""
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in missing:
            with suppress(OSError):
                place.rmdir()
        raise
