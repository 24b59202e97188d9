"""What the scripts of ``data_prep`` share: download with resume, safe extraction, a check by file.

A data set is put into place folder by folder, each by one rename when it is complete: whatever interrupts a script
leaves no half folder, and the same command goes on. Mistakes in the input end with status 2; a network, a disk or a
data set that is not as it should be with 1.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import http.client
import json
import lzma
import os
import shutil
import stat
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from PIL import Image
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, track

from mtl.datasets.layout import find_level
from mtl.tasks.label_files import read_array

TIMEOUT = 30.0
"""Seconds without an answer from the server."""
ATTEMPTS = 3
"""Connections in a row that may bring nothing before a download gives up."""
PAUSE = 1.0
"""Seconds before the next try, times the tries that brought nothing."""
_CHUNK = 1 << 20
_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error),
    *(EOFError, NotImplementedError, RuntimeError),
)


class TransferError(OSError):
    """A download or an extraction that cannot go on, in one line."""


@dataclass(frozen=True)
class Archive:
    """A file to download, and the folders of the data set by which it is recognised; it may bring more beside them.

    The SHA-256 is compared where one is published; the size always is, with what the server announces.
    """

    url: str
    brings: tuple[str, ...]
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class DataSet:
    """What a whole data set is.

    Attributes:
        name: in messages.
        archives: to download.
        level: folders of the root, by which it is recognised.
        splits: how many images each has.
        names: the images of a split, from the root and the split.
        needs: files of an image; of the alternatives one must be there. ``{split}`` and ``{name}`` stand for the image.
        one_form: whether the files of a folder all have one suffix.
    """

    name: str
    archives: tuple[Archive, ...]
    level: tuple[str, ...]
    splits: dict[str, int]
    names: Callable[[Path, str], list[str]]
    needs: tuple[tuple[str, ...], ...]
    one_form: bool = False


# -- command line ------------------------------------------------------------------------------------------------------
def command_line(data: DataSet, description: str) -> ArgumentParser:
    """The arguments that every script has."""
    parser = ArgumentParser(description=description)
    parser.add_argument("root", type=Path, help=f"the folder of {data.name}: what data_root names in a config")
    parser.add_argument("--check", action="store_true", help="only list what is missing; writes nothing")
    parser.add_argument("--deep", action="store_true", help="with --check: read every file too")
    parser.add_argument(
        "--archive", type=Path, action="append", default=[], metavar="FILE", help="a local archive, instead of download"
    )
    parser.add_argument("--downloads", type=Path, metavar="FOLDER", help="where archives are downloaded to (the root)")
    return parser


def run(data: DataSet, args: Namespace) -> int:
    """Download, arrange and check what is not there; the exit status."""
    root = args.root.expanduser()
    check_root(data, root, args.check)
    if args.deep and not args.check:
        raise ValueError("--deep goes with --check")
    if not args.check:
        try:
            if not obtain(data, root, args.archive, args.downloads or root):
                print(f"nothing to download: {root} has the folders of {data.name}", flush=True)
        except KeyboardInterrupt:
            raise OSError("interrupted; the same command goes on") from None
    found = 0
    for problem in check(data, root, args.deep):
        print(problem, file=sys.stderr)
        found += 1
    print(f"{found} missing or broken" if found else f"{data.name} is complete")
    return 1 if found else 0


def check_root(data: DataSet, root: Path, there: bool) -> None:
    """Raise `ValueError` where ``root`` cannot be the data set's folder, or, with ``there``, is not."""
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file; give the folder of {data.name}")
    if any((root / name).is_dir() for name in data.level):
        return
    right = find_level(root, data.level) if root.is_dir() else None
    if right:
        raise ValueError(f"{right} is the folder of {data.name}, not {root}: give that one")
    if there:
        raise ValueError(f"there is no {data.name} at {root}: no folder {' or '.join(data.level)} in it")


def obtain(data: DataSet, root: Path, local: Sequence[Path], downloads: Path) -> bool:
    """Bring the folders that are missing; False where none is."""
    for file in local:
        if not file.is_file():
            raise ValueError(f"there is no archive {file}")
    wanted = [a for a in data.archives if not all((root / folder).exists() for folder in a.brings)]
    if not wanted:
        return False
    _writable(root)
    with _alone(root):
        _bring(data, wanted, root, local, downloads)
    return True


def _bring(data: DataSet, wanted: Sequence[Archive], root: Path, local: Sequence[Path], downloads: Path) -> None:
    for file in local:
        put(data, file, root)
    for archive in wanted:
        if all((root / folder).exists() for folder in archive.brings):
            continue
        file = downloads / archive.name
        if file.is_file():
            print(f"using {file}", flush=True)
            put(data, file, root)
            continue
        _writable(downloads)
        download(archive, file)
        try:
            put(data, file, root)
        except ValueError:
            file.unlink()  # broken: the next call downloads it again
            raise
        file.unlink()


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two at once would write the same part of an archive and remove each other's extraction."""
    folder = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(folder)
        raise OSError(f"another process is bringing a data set to {root}; wait until it ends") from error
    except OSError:
        pass  # a network file system that cannot lock a folder
    try:
        yield
    finally:
        os.close(folder)


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot write to {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"cannot write to {folder}: it is read-only (--check needs no writing)")


# -- download ----------------------------------------------------------------------------------------------------------
def download(archive: Archive, target: Path) -> None:
    """Download into ``target``, by way of ``target.part``, which a later call goes on with.

    It starts afresh where the file on the server is another than the one begun with (size, ETag or date), or the
    server cannot send a part.

    Raises:
        TransferError: with the address, the reason and what to do by hand.
    """
    part, note = (target.with_name(target.name + suffix) for suffix in (".part", ".part.json"))
    idle, most = 0, part.stat().st_size if part.exists() else 0
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as progress:
        bar = progress.add_task(target.name, total=None)
        while True:
            try:
                if _receive(
                    archive.url, part, note, lambda done, total: progress.update(bar, completed=done, total=total)
                ):
                    break
                reason = "the connection ended early"
            except urllib.error.HTTPError as error:
                if error.code == 416:  # there is no such range: what was begun is not of this file
                    part.unlink(missing_ok=True)
                elif error.code < 500:
                    raise TransferError(_by_hand(archive, f"the server answers {error.code} {error.reason}")) from error
                reason = f"the server answers {error.code} {error.reason}"
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                reason = f"no connection ({getattr(error, 'reason', '') or error or type(error).__name__})"
            after = part.stat().st_size if part.exists() else 0
            # more than ever: what is dropped and begun again would go on for ever
            idle, most = (0, after) if after > most else (idle + 1, most)
            if idle >= ATTEMPTS:
                raise TransferError(_by_hand(archive, reason))
            time.sleep(PAUSE * idle)
    if archive.sha256 and _sha256(part) != archive.sha256:
        part.unlink()
        note.unlink(missing_ok=True)
        raise TransferError(_by_hand(archive, "what came has another SHA-256 than the published file"))
    os.replace(part, target)
    note.unlink(missing_ok=True)


def _by_hand(archive: Archive, reason: str) -> str:
    return (
        f"cannot download {archive.url}: {reason}. Download it by hand and give it with --archive FILE, or run the "
        f"same command again to go on"
    )


def _receive(url: str, part: Path, note: Path, report: Callable[[int, int | None], None]) -> bool:
    """One connection: append what comes to ``part``; whether the file is complete."""
    begun = _read_note(note, url) if part.exists() else None
    have = part.stat().st_size if begun else 0
    headers = {"User-Agent": "mtl", "Accept-Encoding": "identity"}
    if begun and have:
        if have == begun["size"]:
            return True
        headers["Range"] = f"bytes={have}-"
        if begun["validator"]:
            headers["If-Range"] = begun["validator"]
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
        resumed = answer.status == 206
        size = _total(answer.headers, resumed)
        validator = _validator(answer.headers)
        if resumed and begun:
            same = (size, validator) == (begun["size"], begun["validator"])
            if not same or not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.unlink()
                return False
        have = have if resumed else 0
        if size is not None and shutil.disk_usage(part.parent).free < size - have:
            raise TransferError(f"no room for {part}: {(size - have) / 2**30:.1f} GiB are to come")
        note.write_text(json.dumps({"url": url, "size": size, "validator": validator}))
        # unbuffered: what a full disk refused would be tried again at closing
        with open(part, "ab" if resumed else "wb", buffering=0) as file:
            while chunk := answer.read(_CHUNK):
                with _writing(part):
                    file.write(chunk)
                have += len(chunk)
                report(have, size)
    return size is None or have == size


def _total(headers: Any, resumed: bool) -> int | None:
    """Bytes of the whole file as the server announces them."""
    text = headers.get("Content-Range", "").rpartition("/")[2] if resumed else headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _validator(headers: Any) -> str | None:
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _read_note(note: Path, url: str) -> dict[str, Any] | None:
    """What was begun; None where it is not known or is of another address."""
    try:
        begun = json.loads(note.read_text())
        return begun if begun["url"] == url and {"size", "validator"} <= set(begun) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _writing:  # noqa: N801 (used like a function)
    """Errors of the disk in one line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, OSError):
            full = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "the disk refuses"
            raise TransferError(
                f"cannot write {self.path}: {full} ({error.strerror}); make room and run again"
            ) from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


# -- extraction --------------------------------------------------------------------------------------------------------
def put(data: DataSet, file: Path, root: Path) -> None:
    """Extract an archive and move its folders into the root; one that is there already is left alone."""
    hidden = root / f".{file.name}.extracting"
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        extract(file, hidden)
        levels = [(a, find_level(hidden, a.brings, up=0)) for a in data.archives]
        if not any(level for _, level in levels):
            needed = " or ".join(", ".join(a.brings) for a in data.archives)
            raise ValueError(f"{file} is no archive of {data.name}: it has no folder {needed}")
        for archive, level in levels:
            if level is None:
                continue
            beside = [p.name for p in sorted(level.iterdir()) if not p.name.startswith((".", "__"))]
            # those that tell a later run that the archive is not needed come last
            for name in (*(n for n in beside if n not in archive.brings), *archive.brings):
                if not (root / name).exists():
                    os.replace(level / name, root / name)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


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
    while opened.fileobj is not None and opened.fileobj.read(_CHUNK):
        pass


def _inside(name: str, file: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]) or "\0" in name:
        raise ValueError(f"{file} has an entry that leads out of its folder, {name!r}: nothing of it is kept")
    return path


def _write(source: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb", buffering=0) as target:
        while chunk := source.read(_CHUNK):
            with _writing(path):
                target.write(chunk)


# -- check -------------------------------------------------------------------------------------------------------------
def read_list(path: Path) -> list[str]:
    """The names in a text file, one a line; none where there is no file."""
    if not path.is_file():
        return []
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a UTF-8 text file: {error}") from error


def check(data: DataSet, root: Path, deep: bool = False) -> Iterator[str]:
    """What is missing or broken, one line each; prints the numbers of files per folder."""
    splits = {}
    for split, number in data.splits.items():
        try:
            names = splits[split] = data.names(root, split)
        except ValueError as error:
            yield f"{split}: {error}"
            continue
        print(f"{split}: {len(names)} of {number} images", flush=True)
        if len(names) != number:
            yield f"{split}: {len(names)} images instead of {number}"
        if len(set(names)) < len(names):
            yield f"{split}: {_first_twice(names)!r} is listed twice"
        yield from _check_files(data, root, split, names, deep)
    for first, second in combinations(splits, 2):
        both = sorted(set(splits[first]) & set(splits[second]))
        if both:
            yield f"{len(both)} images are in {first} and in {second}, such as {both[0]!r}"


def _first_twice(names: Sequence[str]) -> str:
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def _check_files(data: DataSet, root: Path, split: str, names: Sequence[str], deep: bool) -> Iterator[str]:
    listed: dict[str, set[str]] = {}
    there: list[str] = []
    for forms in data.needs:
        lost, counts = [], dict.fromkeys(forms, 0)
        for name in names:
            for form in forms:
                folder, _, file = form.format(split=split, name=name).rpartition("/")
                if folder not in listed:
                    listed[folder] = set(os.listdir(root / folder)) if (root / folder).is_dir() else set()
                if file in listed[folder]:
                    counts[form] += 1
                    there.append(f"{folder}/{file}")
                    break
            else:
                lost.append(forms[0].format(split=split, name=name))
        used = {form.format(split=split, name="*"): number for form, number in counts.items() if number}
        pattern = " or ".join(form.format(split=split, name="*") for form in forms)
        print(f"  {', '.join(f'{form} {n}' for form, n in used.items()) or f'{pattern} 0'} of {len(names)}", flush=True)
        if lost and len(lost) == len(names):
            yield f"{split}: no file {pattern}"
        else:
            yield from (f"missing: {root / file}" for file in lost)
        if data.one_form and len(used) > 1:
            yield f"{split}: {' and '.join(used)} are of different archives: keep one form"
    for file in track(there if deep else [], f"reading {split}", transient=True, disable=not sys.stderr.isatty()):
        error = broken(root / file)
        if error:
            yield f"broken: {root / file}: {error}"


def broken(path: Path) -> str | None:
    """Why a file cannot be read; None where it can."""
    try:
        if path.suffix == ".npy":
            array = read_array(path)
            return None if np.issubdtype(array.dtype, np.number) else f"an array of {array.dtype}"
        if path.suffix == ".mat":
            from scipy.io import loadmat

            loadmat(path)
        else:
            with Image.open(path) as image:
                image.load()
    except Exception as error:  # decoders raise whatever their format's library does
        return " ".join(str(error).split()) or type(error).__name__
    return None
