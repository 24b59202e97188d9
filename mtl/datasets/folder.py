"""Images with one folder of label files per task: the layout for one's own data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mtl.datasets.base import MultiTaskDataset, Transform
from mtl.registry import DATASETS, choices
from mtl.tasks.base import Task
from mtl.transforms.sample import Sample

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


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


def _read_split(root: Path, split: str) -> list[str]:
    """The names in ``root/splits/<split>.txt``."""
    path = root / "splits" / f"{split}.txt"
    if not path.is_file():
        splits = [p.stem for p in (root / "splits").glob("*.txt")]
        raise ValueError(f"{root} has no split {split!r} (no file {path}); {choices(splits, split)}")
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


def _list_images(folder: Path) -> dict[str, str]:
    """The names of the image files in ``folder`` by their names without the suffix."""
    images: dict[str, str] = {}
    # strings rather than paths: 100,000 images are listed in one second instead of five
    for file in sorted(os.listdir(folder)) if folder.is_dir() else ():
        name, suffix = os.path.splitext(file)
        if suffix.lower() in IMAGE_SUFFIXES:
            if name in images:
                raise ValueError(f"{images[name]} and {file} in {folder} have the same name; keep one of them")
            images[name] = file
    if not images:
        raise ValueError(f"there are no images ({', '.join(IMAGE_SUFFIXES)}) in {folder}")
    return images


@DATASETS.register_module()
class FolderDataset(MultiTaskDataset):
    """Images with whichever labels there are for each: a label file that is missing is a target that is missing.

    ::

        root/images/<name>.jpg     .jpeg or .png
        root/<task>/<name>.png     one folder per task, named like the task; or another suffix that the task reads
        root/splits/<split>.txt    one name a line, without the suffix

    Labels have the size of their image as it is displayed. Only names are looked at here; files are read and checked
    when they are loaded.

    Args:
        tasks: the tasks whose labels are read; folders of other tasks need not be there.
        root: the data set's folder.
        split: which names.
        pipeline: the transforms.
        seed: of the transforms' random numbers.

    Attributes:
        labelled: how many images of the split have a label, per task.
    """

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any] | Task],
        root: str | Path,
        split: str = "train",
        pipeline: Sequence[Mapping[str, Any] | Transform] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, pipeline, seed)
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            raise ValueError(f"there is no data set at {self.root}: no such folder (working directory {Path.cwd()})")
        self.names = _read_split(self.root, split)
        self.known = set(self.names)
        self.images = self._find_images(split)
        self.labels = {name: self._find_labels(name, task.suffixes, split) for name, task in self.tasks.items()}
        self.labelled = {task: len(names) for task, names in self.labels.items()}

    def _find_images(self, split: str) -> list[str]:
        """The image file of each name."""
        images = _list_images(self.root / "images")
        lost = [name for name in self.names if name not in images]
        if lost:
            hint = "; names are without the suffix" if Path(lost[0]).stem in images else ""
            raise ValueError(
                f"{len(lost)} of {len(self.names)} names in the split {split!r} have no image in "
                f"{self.root / 'images'}, the first is {lost[0]!r}{hint}"
            )
        return [images[name] for name in self.names]

    def _find_labels(self, task: str, suffixes: Sequence[str], split: str) -> dict[str, str]:
        """The label files for ``task`` by the names of the split that have one."""
        folder = self.root / task
        files = set(os.listdir(folder)) if folder.is_dir() else set()
        found = {name: name + suffix for suffix in suffixes for name in self.names if name + suffix in files}
        other = sorted(f for f in files if os.path.splitext(f)[0] in self.known - set(found))
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
        return found

    def __len__(self) -> int:
        return len(self.names)

    def describe(self, index: int) -> str:
        return f"image {self.names[index]!r}"

    def load(self, index: int) -> Sample:
        """The image and its targets as they are on the disk; `ValueError` names the file that is wrong."""
        name, image = self.names[index], read_image(self.image_path(index))
        labelled = [task for task in self.tasks if name in self.labels[task]]
        targets = {task: self.target(index, task, image.shape[:2]) for task in labelled}
        return Sample(name, image, targets, {task: self.tasks[task].kind for task in labelled})

    def image_path(self, index: int) -> Path:
        return self.root / "images" / self.images[index]

    def target(self, index: int, task: str, size: tuple[int, ...] | None = None) -> np.ndarray:
        """The target of an image that has one; `ValueError` where its file is broken or not of ``size`` (H, W)."""
        label = self.root / task / self.labels[task][self.names[index]]
        target = self.tasks[task].read(label)
        if size is not None and target.shape[:2] != tuple(size):
            raise ValueError(
                f"{label} is {target.shape[0]} x {target.shape[1]}, its image {self.image_path(index)} is "
                f"{size[0]} x {size[1]} (height x width, as displayed)"
            )
        self.tasks[task].check(target, str(label))
        return target
