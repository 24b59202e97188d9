"""Images with one folder of label files per task: the layout for one's own data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl.datasets.base import Transform
from mtl.datasets.files import IMAGE_SUFFIXES, FileDataset, list_files, read_split
from mtl.registry import DATASETS
from mtl.tasks.base import Task


@DATASETS.register_module()
class FolderDataset(FileDataset):
    """Images with whichever labels there are for each: a label file that is missing is a target that is missing.

    ::

        root/images/<name>.jpg     .jpeg or .png
        root/<task>/<name>.png     one folder per task, named like the task; or another suffix that the task reads
        root/splits/<split>.txt    one name a line, without the suffix

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
        names = read_split(self.root / "splits", split)
        images = self._find_images(names, split)
        labels = {name: self._find_labels(name, task.suffixes, names, split) for name, task in self.tasks.items()}
        self._set_files(images, labels)

    def _find_images(self, names: Sequence[str], split: str) -> dict[str, str]:
        """The image file of each name."""
        images = list_files(self.root / "images", IMAGE_SUFFIXES)
        if not images:
            raise ValueError(f"there are no images ({', '.join(IMAGE_SUFFIXES)}) in {self.root / 'images'}")
        lost = [name for name in names if name not in images]
        if lost:
            hint = "; names are without the suffix" if Path(lost[0]).stem in images else ""
            raise ValueError(
                f"{len(lost)} of {len(names)} names in the split {split!r} have no image in "
                f"{self.root / 'images'}, the first is {lost[0]!r}{hint}"
            )
        return {name: f"images/{images[name]}" for name in names}

    def _find_labels(self, task: str, suffixes: Sequence[str], names: Sequence[str], split: str) -> dict[str, str]:
        """The label files for ``task`` by the names of the split that have one."""
        folder = self.root / task
        files = list_files(folder, suffixes)
        found = {name: files[name] for name in names if name in files}
        unread = set(names) - set(found)
        other = sorted(f for f in os.listdir(folder) if os.path.splitext(f)[0] in unread) if folder.is_dir() else []
        if other:
            raise ValueError(
                f"{folder / other[0]} is not read: labels for {task!r} are {' or '.join(suffixes)} files"
                + (f" ({len(other)} such files)" if len(other) > 1 else "")
            )
        if not found:
            folders = sorted(p.name for p in self.root.iterdir() if p.is_dir() and p.name not in ("images", "splits"))
            raise ValueError(
                f"no image of the split {split!r} has a label for the task {task!r}: expected "
                f"{folder}/<name>{' or '.join(suffixes)}; folders in {self.root}: {', '.join(folders) or 'none'}"
            )
        return {name: f"{task}/{file}" for name, file in found.items()}
