"""What a whole data set is, and what is missing or broken of it, file by file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from download import Archive
from rich.progress import track

from mtl.tasks.label_files import read_array
from mtl.utils.files import open_regular
from mtl.utils.images import open_image
from mtl.utils.text import reason


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


def read_list(path: Path) -> list[str]:
    """The names in a text file, one a line; none where there is no file."""
    if not path.is_file():
        return []
    try:
        with open_regular(path) as file:
            return [line.strip() for line in file.read().decode("utf-8-sig").splitlines() if line.strip()]
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
            yield f"images in {first} and in {second}: {len(both)}, such as {both[0]!r}"


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
        with open_regular(path) as file:
            if path.suffix == ".mat":
                from scipy.io import loadmat

                loadmat(file)
            else:
                with open_image(file) as image:
                    image.load()
    except Exception as error:  # decoders raise whatever their format's library does
        return reason(error)
    return None
