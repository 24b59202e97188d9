"""At which level of an archive's folders a data set begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def find_level(root: Path, folders: Sequence[str], up: int = 3) -> Path | None:
    """The folder at or near ``root`` (itself, ``up`` levels up, two down) that has all of ``folders``, or None."""
    near = [root, *root.absolute().parents[:up]]
    try:
        # a hidden folder may be half an extraction
        below = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        below += [p for folder in below for p in sorted(folder.iterdir()) if p.is_dir()]
    except OSError:
        below = []
    return next((p for p in (*near, *below) if all((p / name).exists() for name in folders)), None)


def check_level(root: Path, folders: Sequence[str], owner: str) -> None:
    """Raise `ValueError` unless ``root`` has the folders; it names the right level where it can be found."""
    lost = [name for name in folders if not (root / name).is_dir()]
    if lost:
        right = find_level(root, folders)
        hint = f"; {right} has: give that folder" if right else ""
        raise ValueError(f"{root} is not the folder of {owner}: it has no {' and no '.join(lost)}{hint}")
