"""The folder of a run: what a training owns in it, and that only one training at a time writes there.

    epoch_N.pth (or iter_N.pth)   the full state, ``.safetensors`` beside it the adapter file
    best.pth                      the same of the best validation
    last_checkpoint               the name of the checkpoint that ``--resume`` takes
    result.json                   the scores of the last validation, written at the end

Every other file is left alone.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mtl.engine.files import PART
from mtl.utils.files import made_folder

LAST = "last_checkpoint"
BEST = "best"
RESULT = "result.json"

_NUMBERED = re.compile(r"(epoch|iter)_(\d+)")
_LOCK = ".lock"


def checkpoint_number(path: Path, unit: str | None = None) -> int | None:
    """N of ``epoch_N`` or ``iter_N``, whatever its suffix, or of those of one ``unit``; None of another name."""
    match = _NUMBERED.fullmatch(path.stem)
    return int(match[2]) if match and unit in (None, match[1]) else None


def numbered(folder: Path, unit: str | None = None, suffix: str = ".pth") -> list[Path]:
    """The checkpoints of a run by number, the newest last."""
    found = [path for path in folder.glob(f"*{suffix}") if path.is_file()]
    own = {path: number for path in found if (number := checkpoint_number(path, unit)) is not None}
    return sorted(own, key=lambda path: own[path])


def latest_checkpoint(folder: Path) -> str | None:
    """What a run's folder is resumed from: what ``last_checkpoint`` names, or the newest; None where there is none."""
    named = folder / LAST
    if named.is_file() and (path := folder / Path(named.read_text("utf-8", "replace").strip()).name).is_file():
        return str(path)
    newest = max(numbered(folder), default=None, key=lambda path: path.stat().st_mtime)
    return None if newest is None else str(newest)


def remove_parts(folder: Path) -> None:
    """Remove what a killed training had half written."""
    for pattern in (f".*{PART}", f"pictures/*/.*{PART}"):
        for part in folder.glob(pattern):
            part.unlink()


@contextmanager
def claimed(folder: Path, began: Callable[[], bool] = lambda: False, alone: bool = True) -> Iterator[None]:
    """Claim the folder for this process; if the block fails before it ``began``, what is new there is removed.

    Args:
        folder: of the run; made where there is none.
        began: whether there is something to keep.
        alone: no other process may claim the folder meanwhile; the claim of a killed one ends with it.

    Raises:
        ValueError: another process has the folder.
    """
    if not _is_first_process():
        yield
        return
    with made_folder(folder):
        before = set(folder.iterdir())
        lock = _lock(folder) if alone else None
        try:
            yield
        except BaseException:
            if not began():
                for path in set(folder.iterdir()) - before:
                    _remove(path)
            raise
        finally:
            if lock is not None:
                (folder / _LOCK).unlink(missing_ok=True)
                os.close(lock)


def _lock(folder: Path) -> int:
    import fcntl  # of Unix

    while True:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # of the process: loader processes do not inherit it, and the system drops it when the process ends
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(folder / _LOCK)):
                return lock
        except FileNotFoundError:
            pass  # its owner ended and removed it in between
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return lock  # a file system without locks
            os.close(lock)
            raise ValueError(
                f"another process trains into {folder}: wait for its end, or name another --work-dir"
            ) from error
        os.close(lock)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_first_process() -> bool:
    """Before any process group is made: by what the launchers set."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0
