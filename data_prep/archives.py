"""What the scripts of ``data_prep`` share: bring a data set's folders from its archives and check them.

A data set is put into place folder by folder, each by one rename when it is complete: whatever interrupts a script
leaves no half folder, and the same command goes on. Mistakes in the input end with status 2; a network, a disk or a
data set that is not as it should be with 1.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from completeness import DataSet, check
from download import Archive, download
from extraction import extract

from mtl.datasets.layout import find_level
from mtl.utils.files import made_folder


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
    with _writable(root), _alone(root):
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
        with _writable(downloads):
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


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """``folder`` can be written to; a new one goes again where nothing comes into it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(made_folder(folder))
        except OSError as error:
            raise OSError(f"cannot write to {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"cannot write to {folder}: it is read-only (--check needs no writing)")
        yield


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
