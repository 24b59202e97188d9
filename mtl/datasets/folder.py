"""Images with one folder of label files per task: the layout for one's own data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtl.datasets.base import Transform
from mtl.datasets.files import (
    IMAGE_SUFFIXES,
    FileDataset,
    Leftover,
    list_files,
    normal,
    read_names,
    read_split,
)
from mtl.registry import DATASETS
from mtl.tasks.base import Task
from mtl.utils.text import some_of


@DATASETS.register_module()
class FolderDataset(FileDataset):
    """Images with whichever labels there are for each: a label file that is missing is a target that is missing.

    ::

        root/images/<name>.jpg     or another of `IMAGE_SUFFIXES`
        root/<task>/<name>.png     one folder per task, named like the task; or another suffix that the task reads
        root/splits/<split>.txt    one name a line, with the image's suffix or without

    Names are compared after Unicode normalisation. What is there and not used is in ``leftovers``.

    Args:
        tasks: the tasks whose labels are read; folders of other tasks need not be there.
        root: the data set's folder.
        split: which names.
        pipeline: the transforms.
        seed: of the transforms' random numbers.
    """

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any] | Task],
        root: str | Path,
        split: str = "train",
        pipeline: Sequence[Mapping[str, Any] | Transform] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, root, pipeline, seed)
        found = list_files(self.root / "images", IMAGE_SUFFIXES)
        if not found:
            raise ValueError(f"there are no images ({', '.join(IMAGE_SUFFIXES)}) in {self.root / 'images'}")
        names = read_split(self.root / "splits", split, found)
        self._check_images(names, found, split)
        labels = {name: list_files(self.root / name, task.suffixes) for name, task in self.tasks.items()}
        used = {task: {name: files[name] for name in names if name in files} for task, files in labels.items()}
        errors = [error for task, files in used.items() for error in self._label_errors(task, files, names, split)]
        if errors:
            raise ValueError("; ".join(errors))
        self._set_files(
            {name: f"images/{found[name]}" for name in names},
            {task: {name: f"{task}/{file}" for name, file in files.items()} for task, files in used.items()},
            leftovers=[*self._unused_images(found), *_without_image(labels, found)],
        )

    def _check_images(self, names: Sequence[str], found: Mapping[str, str], split: str) -> None:
        """Raise `ValueError` where a name of the split has no image."""
        folder = self.root / "images"
        lost = [name for name in names if name not in found]
        if lost:
            stems = {os.path.splitext(name)[0] for name in lost} | set(lost)
            near = [file for file in sorted(os.listdir(folder)) if normal(os.path.splitext(file)[0]) in stems]
            hint = f" (files with the suffixes {', '.join(IMAGE_SUFFIXES)}); it has {some_of(near)}" if near else ""
            raise ValueError(
                f"{len(lost)} of {len(names)} names in the split {split!r} have no image in {folder}: "
                f"{some_of(map(repr, lost))}{hint}"
            )

    def _label_errors(self, task: str, files: Mapping[str, str], names: Sequence[str], split: str) -> Iterator[str]:
        """Why the labels for ``task`` are not those of the split."""
        folder, suffixes = self.root / task, " or ".join(self.tasks[task].suffixes)
        unread = set(names) - set(files)
        there = sorted(os.listdir(folder)) if folder.is_dir() else []
        other = [str(folder / file) for file in there if normal(os.path.splitext(file)[0]) in unread]
        if other:
            yield f"not read: {some_of(other)}: labels for {task!r} are files with the suffix {suffixes}"
        elif not files:
            folders = sorted(p.name for p in self.root.iterdir() if p.is_dir() and p.name not in ("images", "splits"))
            yield (
                f"no image of the split {split!r} has a label for the task {task!r}: expected "
                f"{folder}/<name>{suffixes}; folders in {self.root}: {', '.join(folders) or 'none'}"
            )

    def _unused_images(self, found: Mapping[str, str]) -> Iterator[Leftover]:
        """What is in the folder of images and is none, or is one of no split."""
        files = set(found.values())
        none = sorted(file for file in os.listdir(self.root / "images") if file not in files and file[0] != ".")
        yield Leftover(f"entries of {self.root / 'images'} that are no image files", tuple(none))
        listed: set[str] = set()
        for path in (self.root / "splits").glob("*.txt"):
            with suppress(ValueError):  # what is wrong with another list is no matter of this one
                listed |= set(read_names(path, path.stem, found))
        yield Leftover("images in no split", tuple(file for name, file in found.items() if name not in listed))


def _without_image(labels: Mapping[str, Mapping[str, str]], images: Mapping[str, str]) -> Iterator[Leftover]:
    """Label files whose name is no image's."""
    for task, files in labels.items():
        lone = tuple(file for name, file in files.items() if name not in images)
        yield Leftover(f"label files of {task!r} without an image of their name", lone, mistake=True)
