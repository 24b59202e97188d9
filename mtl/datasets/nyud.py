"""NYUD-MT: NYU Depth v2 with labels for four tasks, in the three forms that archives of it have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mtl.datasets.base import Transform, check_tasks
from mtl.datasets.files import FileDataset, list_files, read_split
from mtl.datasets.label_formats import parse_axes, read_mat, read_normal_array, read_normal_levels
from mtl.datasets.layout import check_level
from mtl.registry import DATASETS
from mtl.structures import VOID, TargetKind
from mtl.tasks.base import Task
from mtl.tasks.label_files import read_array, read_class_ids
from mtl.tasks.normals import decode_normals
from mtl.utils.text import some_of

KINDS = {
    "semseg": TargetKind.CLASSES,
    "normals": TargetKind.VECTORS,
    "depth": TargetKind.DEPTH,
    "edge": TargetKind.EDGES,
}
FOLDERS = {"semseg": "segmentation", "normals": "normals", "depth": "depth", "edge": "edge"}
FORMS = {
    "semseg": (".mat", ".png"),
    "normals": (".jpg", ".npy", ".png"),
    "depth": (".mat", ".npy"),
    "edge": (".png",),
}
"""The suffixes that a task's labels have in one archive or another."""

_LEVEL = ("gt_sets", "images")


@DATASETS.register_module()
class NYUD(FileDataset):
    """NYUD-MT: 795 training and 654 validation images of rooms.

    Serves the tasks named ``semseg`` (40 classes; stored 0 is void, the others count from 1), ``normals``, ``depth``
    (metres) and ``edge``. The form of the archive shows in the suffixes of its files. It is only read; what a task that
    is not asked for needs may be missing.

    Args:
        tasks: any of these.
        root: the archive's folder, ``NYUD_MT``.
        split: ``train`` or ``val``.
        pipeline: the transforms.
        seed: of the transforms' random numbers.
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
        normal_axes: str = "x,-y,z",
    ) -> None:
        super().__init__(tasks, root, pipeline, seed)
        check_level(self.root, _LEVEL, "NYUD-MT")
        check_tasks("NYUD", self.tasks, KINDS, {"semseg": 40})
        parse_axes(normal_axes, "NYUD")
        names = read_split(self.root / "gt_sets", split)
        images = self._files("images", (".jpg", ".png"), names, split)
        labels = {task: self._files(FOLDERS[task], FORMS[task], names, split) for task in self.tasks}
        readers = {task: partial(self._read, task, normal_axes) for task in self.tasks}
        self._set_files(images, labels, readers)

    def _files(self, folder: str, suffixes: Sequence[str], names: Sequence[str], split: str) -> dict[str, str]:
        """The file of every name in a folder, all with the same suffix; `ValueError` otherwise."""
        for suffix in suffixes:
            found = list_files(self.root / folder, (suffix,))
            if any(name in found for name in names):
                lost = [name for name in names if name not in found]
                if lost:
                    raise ValueError(
                        f"{len(lost)} of {len(names)} files of the split {split!r} are missing in "
                        f"{self.root / folder}: {some_of(name + suffix for name in lost)}"
                    )
                return {name: f"{folder}/{found[name]}" for name in names}
        raise ValueError(f"no file of the split {split!r} in {self.root / folder} ({' or '.join(suffixes)})")

    def _read(self, task: str, axes: str, path: Path) -> np.ndarray:
        readers: dict[tuple[str, str], Callable[[], np.ndarray]] = {
            ("semseg", ".mat"): lambda: shift(read_mat(path, "segmentation"), str(path)),
            ("semseg", ".png"): lambda: shift(read_class_ids(path), str(path)),
            ("normals", ".npy"): lambda: read_normal_array(path, axes),
            ("normals", ".jpg"): lambda: decode_normals(read_normal_levels(path, axes)),
            ("normals", ".png"): lambda: decode_normals(read_normal_levels(path, axes)),
            ("depth", ".mat"): lambda: self.tasks[task].from_array(read_mat(path, "depth"), str(path)),
            ("depth", ".npy"): lambda: self.tasks[task].from_array(read_array(path), str(path)),
            ("edge", ".png"): lambda: self.tasks[task].read(path),
        }
        return readers[task, path.suffix.lower()]()


def shift(ids: np.ndarray, where: str) -> np.ndarray:
    """Stored ids, 0 void and classes from 1, as uint8 ids from 0 with void 255."""
    if ids.ndim != 2 or ids.dtype.kind not in "iuf" or not np.isin(ids, np.arange(256)).all():
        raise ValueError(f"{where}: class ids are (H, W) numbers of 0 to 255, not {ids.shape} {ids.dtype}")
    stored = ids.astype(np.uint8)
    return np.where((stored == 0) | (stored == VOID), np.uint8(VOID), stored - np.uint8(1))
