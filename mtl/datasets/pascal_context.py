"""PASCAL-Context with the labels of Maninis et al. (2019, arXiv 1904.08918), archive ``PASCAL_MT``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from mtl.datasets.base import Transform, check_tasks
from mtl.datasets.files import FileDataset, Reader, list_files, read_split
from mtl.datasets.label_formats import label_edges, read_mat, read_normal_levels
from mtl.datasets.layout import check_level
from mtl.registry import DATASETS
from mtl.structures import TargetKind
from mtl.tasks.base import Task
from mtl.tasks.normals import decode_normals
from mtl.utils.text import some_of

KINDS = {
    "semseg": TargetKind.CLASSES,
    "human_parts": TargetKind.CLASSES,
    "saliency": TargetKind.CLASSES,
    "normals": TargetKind.VECTORS,
    "edge": TargetKind.EDGES,
}
CONVERTED = ("human_parts", "normals", "edge")
"""The tasks whose labels come from MATLAB files, which take long to decode."""

PERSON = 15
PARTS = {
    **dict.fromkeys(("hair", "head", "lear", "rear", "lebrow", "rebrow", "leye", "reye", "mouth", "nose"), 1),
    **dict.fromkeys(("neck", "torso"), 2),
    **dict.fromkeys(("luarm", "ruarm"), 3),
    **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
    **dict.fromkeys(("luleg", "ruleg"), 5),
    **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
}
"""PASCAL-Part's parts of a person to the ids of `mtl.tasks.human_parts.PASCAL_PARTS`."""

_LEVEL = ("ImageSets/Context", "JPEGImages")
_MAPS = "pascal-context/trainval"
_CLASSES = 459
_AXES = "x,-y,z"


@DATASETS.register_module()
class PascalContext(FileDataset):
    """PASCAL-Context: 4,998 training and 5,105 validation images.

    Serves the tasks named ``semseg`` (21 classes), ``human_parts`` (7; absent where no person with parts is shown),
    ``saliency``, ``normals`` (valid on 170 classes of things) and ``edge`` (boundaries of the 459 classes). What a task
    that is not asked for needs may be missing. The archive is only read.

    Args:
        tasks: any of these.
        root: the archive's folder, ``PASCAL_MT`` or ``PASCALContext``.
        split: ``train`` or ``val``.
        pipeline: the transforms.
        seed: of the transforms' random numbers.
        converted: where ``data_prep/pascal_context.py --convert`` put its PNGs; the default is ``mtl_converted`` in the
            root, where there is one. They hold the same labels and decode much faster.
        normal_axes: the stored right, up and to the viewer. The default is how the authors' own augmentation turns
            them: y points down.
    """

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any] | Task],
        root: str | Path,
        split: str = "train",
        pipeline: Sequence[Mapping[str, Any] | Transform] = (),
        seed: int = 0,
        converted: str | Path | None = None,
        normal_axes: str = _AXES,
    ) -> None:
        super().__init__(tasks, root, pipeline, seed)
        check_level(self.root, _LEVEL, "PASCAL-Context")
        check_tasks("PascalContext", self.tasks, KINDS, {"semseg": 21, "human_parts": 7})
        names = read_split(self.root / "ImageSets" / "Context", split)
        folder = Path(converted).expanduser() if converted is not None else self.root / "mtl_converted"
        if converted is not None and not folder.is_dir():
            raise ValueError(f"there are no converted labels at {folder}: no such folder")
        images = self._files("JPEGImages", (".jpg",), names, split)
        sources = {name: self._source(name, names, split, folder, normal_axes) for name in self.tasks}
        self._set_files(
            {name: images[name] for name in names},
            {name: files for name, (files, _) in sources.items()},
            {name: reader for name, (_, reader) in sources.items()},
        )

    def _source(
        self, task: str, names: list[str], split: str, converted: Path, axes: str
    ) -> tuple[dict[str, str], Reader]:
        """The label files of a task by image, and what reads them."""
        if task in CONVERTED and (converted / task).is_dir():
            if axes != _AXES and task == "normals":
                raise ValueError(f"the normals in {converted} are converted with the axes {_AXES!r}, not {axes!r}")
            files = {
                n: str(converted.absolute() / task / f) for n, f in list_files(converted / task, (".png",)).items()
            }
            unlabelled = converted / f"{task}_unlabelled.txt"
            none = set(unlabelled.read_text("utf-8").split()) if unlabelled.is_file() else set()
            lost = [name for name in names if name not in files and name not in none]
            if lost:
                raise ValueError(
                    f"{converted / task} lacks {len(lost)} images of the split {split!r} ({some_of(lost)}): run "
                    "data_prep/pascal_context.py --convert to the end, or remove the folder"
                )
            return {name: files[name] for name in names if name in files}, self.tasks[task].read
        if task == "semseg":
            found = list_files(self.root / "semseg" / "VOC12", (".png",))
            rest = [name for name in names if name not in found]
            files = self._files("semseg/pascal-context", (".png",), rest, split) if rest else {}
            files |= {name: f"semseg/VOC12/{file}" for name, file in found.items()}
            return {name: files[name] for name in names}, self.tasks[task].read
        if task == "human_parts":
            return self._files("human_parts", (".mat",), names, split), read_human_parts
        if task == "saliency":
            return self._files("sal_distill", (".png",), names, split), self.tasks[task].read
        maps = self._files(_MAPS, (".mat",), names, split)
        if task == "edge":
            return maps, read_edges
        files = self._files("normals_distill", (".png",), names, split)
        return files, partial(read_normals, maps=self.root / _MAPS, axes=axes)

    def _files(self, folder: str, suffixes: Sequence[str], names: Sequence[str], split: str) -> dict[str, str]:
        """The file of every name in a folder; `ValueError` where one is missing."""
        found = list_files(self.root / folder, suffixes)
        lost = [name for name in names if name not in found]
        if lost:
            raise ValueError(
                f"{len(lost)} of {len(names)} files of the split {split!r} are missing in {self.root / folder}: "
                f"{some_of(name + suffixes[0] for name in lost)} (data_prep/pascal_context.py --check lists them)"
            )
        return {name: f"{folder}/{found[name]}" for name in names}


def read_human_parts(path: Path) -> np.ndarray | None:
    """A PASCAL-Part file as ``(H, W)`` uint8 ids 0..6 of all persons, later parts over earlier ones; None without."""
    annotation = read_mat(path, "anno")
    target: np.ndarray | None = None
    try:
        for thing in annotation[0][0][1][0]:
            if thing[1][0][0] != PERSON or not len(thing[3]):
                continue
            target = np.zeros(thing[2].shape, np.uint8) if target is None else target
            for part in thing[3][0]:
                target[part[1] == 1] = PARTS[str(part[0][0])]
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the label {path} is no PASCAL-Part annotation: {type(error).__name__} {error}") from error
    return target if target is not None and target.any() else None


def read_edges(path: Path) -> np.ndarray:
    """The boundaries of a LabelMap, ``(H, W)`` uint8."""
    return label_edges(read_label_map(path))


def read_label_map(path: Path) -> np.ndarray:
    """The ids of the 459 classes and 0, ``(H, W)`` uint16."""
    labels = read_mat(path, "LabelMap")
    if labels.ndim != 2 or labels.dtype.kind not in "iuf" or not np.isin(labels, np.arange(_CLASSES + 1)).all():
        raise ValueError(
            f"the label {path}: a LabelMap is (H, W) ids of 0 to {_CLASSES}, not {labels.shape} {labels.dtype}"
        )
    return labels.astype(np.uint16)


def read_normals(path: Path, maps: Path, axes: str = _AXES) -> np.ndarray:
    """Distilled normals ``(H, W, 3)`` float32, zero where the LabelMap in ``maps`` has no class with valid normals."""
    return decode_normals(_valid_levels(path, maps, axes))


def _valid_levels(path: Path, maps: Path, axes: str) -> np.ndarray:
    levels = read_normal_levels(path, axes)
    labels = read_label_map(maps / f"{path.stem}.mat")
    if labels.shape != levels.shape[:2]:
        raise ValueError(f"{path} is {levels.shape[:2]}, its LabelMap {labels.shape} (height, width)")
    levels[~valid_classes()[labels]] = 0
    return levels


@cache
def valid_classes() -> np.ndarray:
    """``(460,)`` bool: the LabelMap ids whose distilled normals are valid."""
    path = Path(__file__).parent / "data" / "pascal_context_normals.json"
    valid = np.zeros(_CLASSES + 1, bool)
    valid[[int(i) for i in json.loads(path.read_text("utf-8"))["ids"]]] = True
    return valid


def slow_label(root: Path, task: str, name: str) -> np.ndarray | None:
    """What a PNG holds in place of the MATLAB label of ``task`` in `CONVERTED`, uint8; None where there is no label.

    `Task.read` of it gives what the reader of the original gives.
    """
    makers: dict[str, Callable[[], np.ndarray | None]] = {
        "human_parts": lambda: read_human_parts(root / "human_parts" / f"{name}.mat"),
        "edge": lambda: 255 * read_edges(root / _MAPS / f"{name}.mat"),
        "normals": lambda: _valid_levels(root / "normals_distill" / f"{name}.png", root / _MAPS, _AXES),
    }
    return makers[task]()


def original_label(root: Path, task: str, name: str) -> np.ndarray | None:
    """The target of ``task`` in `CONVERTED` as it is read from the archive; None where there is none."""
    if task == "human_parts":
        return read_human_parts(root / "human_parts" / f"{name}.mat")
    if task == "edge":
        return read_edges(root / _MAPS / f"{name}.mat")
    return read_normals(root / "normals_distill" / f"{name}.png", root / _MAPS)
