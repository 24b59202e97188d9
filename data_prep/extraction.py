"""Safe extraction of zips and tars: nothing leads out of the folder, and what is cut off is said."""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from download import CHUNK, writing

_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error),
    *(EOFError, NotImplementedError, RuntimeError),  # zipfile's, for damaged methods and flags
)


def extract(file: Path, folder: Path) -> None:
    """The files of a zip or tar in ``folder``; links to files of the archive become copies.

    Raises:
        ValueError: for a file that is no archive, is cut off, or has an entry that leads out of the folder.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as opened:
                _extract_zip(opened, file, folder)
        elif tarfile.is_tarfile(file):
            with tarfile.open(file) as opened_tar:
                _extract_tar(opened_tar, file, folder)
        else:
            with open(file, "rb") as begin:
                cut = begin.read(2) in (b"PK", b"\x1f\x8b", b"BZ")
            raise ValueError(f"{file} is {'cut off or broken' if cut else 'no archive (zip or tar)'}")
    except _BROKEN as error:
        raise ValueError(f"{file} is cut off or broken: {error}") from error


def _extract_zip(opened: zipfile.ZipFile, file: Path, folder: Path) -> None:
    for entry in opened.infolist():
        path = _inside(entry.filename, file)
        mode = entry.external_attr >> 16
        if stat.S_ISLNK(mode):
            raise ValueError(f"{file} has the link {entry.filename!r}, which a data set does not need: not extracted")
        if entry.is_dir():
            (folder / path).mkdir(parents=True, exist_ok=True)
        else:
            with opened.open(entry) as source:
                _write(source, folder / path)


def _extract_tar(opened: tarfile.TarFile, file: Path, folder: Path) -> None:
    for entry in opened:
        path = _inside(entry.name, file)
        if entry.isdir():
            (folder / path).mkdir(parents=True, exist_ok=True)
        elif entry.isfile():
            source = opened.extractfile(entry)
            assert source is not None
            _write(source, folder / path)
        elif entry.issym() or entry.islnk():
            # a copy cannot be written through; a link to what comes later or is a folder is not met in data sets
            base = path.parent if entry.issym() else PurePosixPath()
            linked = folder / _inside(os.path.normpath(base / entry.linkname), file)
            if not linked.is_file():
                raise ValueError(f"{file} has the link {entry.name!r} to {entry.linkname!r}, which is no file in it")
            with open(linked, "rb") as source:
                _write(source, folder / path)
        else:
            raise ValueError(f"{file} has {entry.name!r}, which is neither a file nor a folder: not extracted")
    # a tar ends before its compressed file does, which only then compares its checksum
    while opened.fileobj is not None and opened.fileobj.read(CHUNK):
        pass


def _inside(name: str, file: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]) or "\0" in name:
        raise ValueError(f"{file} has an entry that leads out of its folder, {name!r}: nothing of it is kept")
    return path


def _write(source: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb", buffering=0) as target:
        while chunk := source.read(CHUNK):
            with writing(path):
                target.write(chunk)
