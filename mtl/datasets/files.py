"""What the data sets on disk share: images and labels by name, read and checked when they are loaded."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mtl.datasets.base import MultiTaskDataset, Transform
from mtl.registry import choices
from mtl.tasks.base import Task
from mtl.transforms.sample import Sample
from mtl.utils.files import open_regular
from mtl.utils.images import MAX_PIXELS, open_image
from mtl.utils.text import printable, reason, some_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Of the files that are taken from a folder as images, to train on and to predict."""

Reader = Callable[[Path], "np.ndarray | None"]
"""A label file to a target of its task's kind; None where the image turns out to have none."""


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The image as it is displayed (EXIF orientation applied), ``(H, W, 3)`` uint8 RGB.

    Grey, palette and CMYK images are converted; an alpha channel is dropped; of an animation it is the first frame.
    Read by Pillow, because OpenCV fills what is missing of a truncated JPEG with grey and says nothing.

    Raises:
        ValueError: naming the file, where it is missing, no regular file, broken, truncated, has more than
            ``max_pixels``, or more than 8 bits per channel (grey).
    """
    try:
        with open_regular(path) as file, open_image(file, max_pixels) as image:
            return to_rgb(image)
    except Exception as error:  # decoders raise whatever their format's library does
        raise ValueError(f"cannot read the image {printable(path)}: {reason(error)}") from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """A Pillow image, which is turned in place, as `read_image` gives it; whatever Pillow raises where it is broken."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":
        # Pillow would clip the values above 255 to white
        raise ValueError(f"Pillow's mode {image.mode} has more than 8 bits per channel; convert it to 8 bits")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def read_names(path: Path, split: str, images: Mapping[str, str] | None = None) -> list[str]:
    """The names in a split's list, one a line; `ValueError` where there is none, it is empty or repeats one.

    Args:
        path: the list.
        split: its name.
        images: name to image file; a line may be such a file instead of its name.
    """
    if not path.is_file():
        splits = [p.stem for p in path.parent.glob("*.txt")]
        raise ValueError(f"there is no split {split!r} (no file {path}); {choices(splits, split)}")
    try:
        with open_regular(path) as file:
            lines = file.read().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a UTF-8 text file: {error}") from error
    names = [_name_of(normal(line.strip()), images or {}) for line in lines if line.strip()]
    if not names:
        raise ValueError(f"{path} is empty; it must have the name of one image a line")
    twice = [repr(name) for name, number in Counter(names).items() if number > 1]
    if twice:
        raise ValueError(f"{path} names {some_of(twice)} twice")
    return names


def _name_of(line: str, images: Mapping[str, str]) -> str:
    """A line without the suffix if it is an image file's whole name."""
    name, suffix = os.path.splitext(line)
    known = line not in images and name in images
    return name if known and os.path.splitext(images[name])[1].lower() == suffix.lower() else line


def read_split(folder: Path, split: str, images: Mapping[str, str] | None = None) -> list[str]:
    """`read_names` of ``folder/<split>.txt``; `ValueError` also where train and val have one in common."""
    names = read_names(folder / f"{split}.txt", split, images)
    other = {"train": "val", "val": "train"}.get(split)
    if other and (folder / f"{other}.txt").is_file():
        both = set(names) & set(read_names(folder / f"{other}.txt", other, images))
        if both:
            raise ValueError(f"{folder}: names in train and in val ({len(both)}): {some_of(sorted(both))}")
    return names


def normal(name: str) -> str:
    """A name as it is compared: an umlaut is one letter or a letter and a dot mark, by system and program."""
    return unicodedata.normalize("NFC", name)


def list_files(folder: Path, suffixes: Sequence[str]) -> dict[str, str]:
    """The files in ``folder`` with one of the suffixes, by their names without it; empty where there is no folder.

    Hidden files are left out. What is no regular file says so when it is read, like any broken one.
    """
    found: dict[str, str] = {}
    same = []
    for file in sorted(os.listdir(folder)) if folder.is_dir() else ():
        name, suffix = os.path.splitext(file)
        if suffix.lower() in suffixes and not file.startswith("."):
            if normal(name) in found:
                same.append(f"{found[normal(name)]} and {file}")
            found[normal(name)] = file
    if same:
        raise ValueError(f"{some_of(same)} in {folder} have the same name; keep one of them")
    return found


@dataclass(frozen=True)
class Leftover:
    """What a data set has and does not use.

    Attributes:
        what: the kind of these files, in the plural.
        names: of the files.
        mistake: whether it is a mistake by itself, as a label that belongs to no image.
    """

    what: str
    names: tuple[str, ...]
    mistake: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {len(self.names)} ({some_of(self.names)})"


def all_leftovers(parts: Mapping[str, FileDataset]) -> dict[Leftover, str]:
    """What the data sets do not use, each with the names of the parts (train, val) that do not use it."""
    found: dict[Leftover, list[str]] = {}
    for part, dataset in parts.items():
        for leftover in dataset.leftovers:
            found.setdefault(leftover, []).append(part)
    return {leftover: " and ".join(names) for leftover, names in found.items()}


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
        leftovers: what is there and not used.
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
        leftovers: Sequence[Leftover] = (),
    ) -> None:
        """What to read: files are named relative to the root.

        Args:
            images: name to image file, in the order of the items.
            labels: task to name to label file.
            readers: task to what reads its files; `Task.read` where there is none.
            leftovers: what is not used; images without any label are added here.
        """
        self.names = list(images)
        self.images = list(images.values())
        self.labels = {task: dict(labels[task]) for task in self.tasks}
        self.readers: dict[str, Reader] = {name: task.read for name, task in self.tasks.items()} | dict(readers or {})
        self.labelled = {task: len(files) for task, files in self.labels.items()}
        bare = [name for name in self.names if self.tasks and not any(name in files for files in self.labels.values())]
        found = (*leftovers, Leftover("images without a label for any task", tuple(bare)))
        self.leftovers = [leftover for leftover in found if leftover.names]

    @property
    def identity(self) -> str:
        files = json.dumps([self.names, {task: sorted(names) for task, names in self.labels.items()}])
        return hashlib.sha256(files.encode()).hexdigest()[:16]

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
