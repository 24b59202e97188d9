"""Writing files so that a crash or a full disk leaves the old one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from mtl.utils.files import made_folder

PART = ".mtl-part"
"""Suffix of what is not complete yet."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; the file moves into its place when it is complete.

    What fails in writing is an `OSError` that names ``path``.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    with made_folder(path.parent):
        try:
            yield part
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            part.chmod(0o666 & ~mask)  # safetensors writes files that only their owner may read
            os.replace(part, path)
        except BaseException as error:
            part.unlink(missing_ok=True)
            if not isinstance(error, (OSError, SafetensorError)):
                raise
            if getattr(error, "filename", None) not in (None, str(part), part):
                raise
            if errno := getattr(error, "errno", None):
                raise OSError(errno, os.strerror(errno), str(path)) from error
            raise OSError(f"cannot write {str(path)!r}: {error}") from error
