"""ADE20K scene parsing (Zhou et al., CVPR 2017), archive ``ADEChallengeData2016``: 150 classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl.datasets.base import Transform, check_tasks
from mtl.datasets.files import FileDataset, Leftover, list_files
from mtl.datasets.layout import check_level
from mtl.registry import DATASETS, choices
from mtl.structures import TargetKind
from mtl.tasks.base import Task
from mtl.tasks.label_files import read_class_ids
from mtl.utils.text import some_of

SPLITS = {"train": "training", "val": "validation"}
NUM_CLASSES = 150


def read_shifted(path: Path) -> np.ndarray:
    """``(H, W)`` uint8 class ids 0..149 of a label that stores them as 1..150; its 0, no class, becomes void (255)."""
    # uint8 wraps: 0 - 1 is 255. A stored 255 becomes 254, which the task's check names
    return read_class_ids(path) - np.uint8(1)


@DATASETS.register_module()
class ADE20K(FileDataset):
    """20,210 and 2,000 images of scenes; serves the task ``semseg`` (150 classes).

    ::

        root/images/{training,validation}/<name>.jpg
        root/annotations/{training,validation}/<name>.png    0 = void, 1..150 = classes 0..149

    Args:
        tasks: ``semseg`` or none.
        root: the folder ``ADEChallengeData2016``.
        split: ``train`` or ``val``.
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
        check_tasks("ADE20K", self.tasks, {"semseg": TargetKind.CLASSES}, {"semseg": NUM_CLASSES})
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; {choices(SPLITS, split)}")
        part = SPLITS[split]
        check_level(self.root, [f"images/{part}", *(f"annotations/{part}" for _ in self.tasks)], "ADE20K")
        images = list_files(self.root / "images" / part, (".jpg",))
        if not images:
            raise ValueError(f"there are no images (.jpg) in {self.root / 'images' / part}")
        labels = list_files(self.root / "annotations" / part, (".png",)) if self.tasks else {}
        lost = [name for name in images if self.tasks and name not in labels]
        if lost:
            raise ValueError(
                f"{len(lost)} of {len(images)} images have no label in {self.root / 'annotations' / part}: "
                f"{some_of(lost)}; data_prep/ade20k.py --check lists what is missing"
            )
        lone = tuple(file for name, file in labels.items() if name not in images)
        self._set_files(
            {name: f"images/{part}/{file}" for name, file in images.items()},
            {task: {name: f"annotations/{part}/{labels[name]}" for name in images} for task in self.tasks},
            {task: read_shifted for task in self.tasks},
            [Leftover("label files without an image of their name", lone, mistake=True)],
        )
