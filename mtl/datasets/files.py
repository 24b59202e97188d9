"""What the data sets on disk share: images and labels by name, read and checked when they are loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mtl.datasets.base import MultiTaskDataset, Transform
from mtl.registry import choices
from mtl.tasks.base import Task
from mtl.transforms.sample import Sample

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

Reader = Callable[[Path], "np.ndarray | None"]
"""A label file to a target of its task's kind; None where the image turns out to have none."""


def read_image(path: Path) -> np.ndarray:
    """The image as it is displayed (EXIF orientation applied), ``(H, W, 3)`` uint8 RGB.

    Grey, palette and CMYK images are converted; an alpha channel is dropped. Read by Pillow, because OpenCV fills what
    is missing of a truncated JPEG with grey and says nothing.

    Raises:
        ValueError: naming the file, where it is missing, broken, truncated or has more than 8 bits per channel (grey).
    """
    try:
        if not path.is_file():
            raise ValueError("it is not a file")
        with Image.open(path) as image:
            return to_rgb(image)
    except Exception as error:  # decoders raise whatever their format's library does
        raise ValueError(f"cannot read the image {path}: {error}") from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image, which is turned in place, as `read_image` gives it; whatever Pillow raises where it is broken."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":
        # Pillow would clip the values above 255 to white
        raise ValueError(f"Pillow's mode {image.mode} has more than 8 bits per channel; convert it to 8 bits")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def read_names(path: Path, split: str) -> list[str]:
    """The names in a split's list, one a line; `ValueError` where there is none, it is empty or repeats one."""
    if not path.is_file():
        splits = [p.stem for p in path.parent.glob("*.txt")]
        raise ValueError(f"there is no split {split!r} (no file {path}); {choices(splits, split)}")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a UTF-8 text file: {error}") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise ValueError(f"{path} is empty; it must have the name of one image a line")
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"{path} names {twice!r} twice")
    return names


def read_split(folder: Path, split: str) -> list[str]:
    """The names in ``folder/<split>.txt``; `ValueError` also where train and val have one in common."""
    names = read_names(folder / f"{split}.txt", split)
    other = {"train": "val", "val": "train"}.get(split)
    if other and (folder / f"{other}.txt").is_file():
        both = set(names) & set(read_names(folder / f"{other}.txt", other))
        if both:
            raise ValueError(f"{folder}: {len(both)} names are in train and in val, such as {min(both)!r}")
    return names


def list_files(folder: Path, suffixes: Sequence[str]) -> dict[str, str]:
    """The files in ``folder`` with one of the suffixes, by their names without it; empty where there is no folder."""
    found: dict[str, str] = {}
    # strings rather than paths: 100,000 images are listed in one second instead of five
    for file in sorted(os.listdir(folder)) if folder.is_dir() else ():
        name, suffix = os.path.splitext(file)
        if suffix.lower() in suffixes:
            if name in found:
                raise ValueError(f"{found[name]} and {file} in {folder} have the same name; keep one of them")
            found[name] = file
    return found


class FileDataset(MultiTaskDataset):
    """Base of the data sets on disk: a subclass's ``__init__`` finds the files and calls `_set_files`.

    Only names are looked at there; files are read and checked when they are loaded. Labels have the size of their
    image as it is displayed; a label that is missing is a target that is missing. Nothing is written to the root.

    Args:
        tasks: the tasks whose labels are read; the files of others need not be there.
        root: the data set's folder.
        pipeline: the transforms.
        seed: of the transforms' random numbers.

    Attributes:
        names: of the images.
        labelled: how many images have a label file, per task.
    """

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any] | Task],
        root: str | Path,
        pipeline: Sequence[Mapping[str, Any] | Transform] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, pipeline, seed)
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            raise ValueError(f"there is no data set at {self.root}: no such folder (working directory {Path.cwd()})")

    def _set_files(
        self,
        images: Mapping[str, str],
        labels: Mapping[str, Mapping[str, str]],
        readers: Mapping[str, Reader] | None = None,
    ) -> None:
        """What to read: files are named relative to the root.

        Args:
            images: name to image file, in the order of the items.
            labels: task to name to label file.
            readers: task to what reads its files; `Task.read` where there is none.
        """
        self.names = list(images)
        self.images = list(images.values())
        self.labels = {task: dict(labels[task]) for task in self.tasks}
        self.readers: dict[str, Reader] = {name: task.read for name, task in self.tasks.items()} | dict(readers or {})
        self.labelled = {task: len(files) for task, files in self.labels.items()}

    def __len__(self) -> int:
        return len(self.names)

    def describe(self, index: int) -> str:
        return f"image {self.names[index]!r}"

    def load(self, index: int) -> Sample:
        """The image and its targets as they are on the disk; `ValueError` names the file that is wrong."""
        name, image = self.names[index], read_image(self.image_path(index))
        targets = self.targets(index, self.tasks, image.shape[:2])
        return Sample(name, image, targets, {task: self.tasks[task].kind for task in self.tasks})

    def targets(self, index: int, tasks: Collection[str], size: tuple[int, ...] | None = None) -> dict[str, np.ndarray]:
        """The targets for ``tasks`` that image ``index`` has; the image is not read."""
        read = {task: self.target(index, task, size) for task in tasks if self.names[index] in self.labels[task]}
        return {task: target for task, target in read.items() if target is not None}

    def with_label(self, task: str) -> list[int]:
        return [index for index, name in enumerate(self.names) if name in self.labels[task]]

    def label_place(self, task: str) -> str:
        return str((self.root / next(iter(self.labels[task].values()), task)).parent)

    def image_path(self, index: int) -> Path:
        return self.root / self.images[index]

    def target(self, index: int, task: str, size: tuple[int, ...] | None = None) -> np.ndarray | None:
        """The target of an image that has a label file; `ValueError` where it is broken or not of ``size`` (H, W)."""
        label = self.root / self.labels[task][self.names[index]]  # an absolute path stays one
        target = self.readers[task](label)
        if target is None:
            return None
        if size is not None and target.shape[:2] != tuple(size):
            raise ValueError(
                f"{label} is {target.shape[0]} x {target.shape[1]}, its image {self.image_path(index)} is "
                f"{size[0]} x {size[1]} (height x width, as displayed)"
            )
        self.tasks[task].check(target, str(label))
        return target
