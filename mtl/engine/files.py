"""Writing files so that a crash or a full disk leaves the old one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtl.utils.files import made_folder


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; the file moves into its place when it is complete."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with made_folder(path.parent):
        try:
            yield part
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)  # safetensors writes files that only their owner may read
        os.replace(part, path)
