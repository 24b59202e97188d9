"""Semantic segmentation: one class per pixel; cross-entropy, and mIoU over the set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from mtl.registry import TASKS
from mtl.structures import TargetKind
from mtl.tasks.base import Reduce, Task, no_reduce
from mtl.tasks.colours import class_legend, draw_classes
from mtl.tasks.label_files import check_class_ids, read_class_ids
from mtl.tasks.segmentation import class_counts, class_names, cross_entropy, iou_metrics, predict_classes


@TASKS.register_module()
class SemanticSegmentation(Task):
    """Class-id PNG (grey or palette, 255 void) in; ``(H, W)`` uint8 class ids out.

    Metrics in %: ``mIoU`` over the classes that occur in the set's labels or predictions, ``pixel_acc`` over all
    labelled pixels, and ``IoU/<class>``.

    Args:
        classes: the names of the classes 0..K-1, or K.
        name: the task's key.
        loss_weight: weight of the loss.
    """

    kind = TargetKind.CLASSES
    metric = "mIoU"
    unit = "%"

    def __init__(self, classes: Sequence[str] | int, name: str = "semseg", loss_weight: float = 1.0) -> None:
        self.classes = class_names(classes)
        super().__init__(name, len(self.classes), loss_weight)

    def read(self, path: Path) -> np.ndarray:
        return read_class_ids(path)

    def check(self, target: np.ndarray, where: str) -> None:
        check_class_ids(target, len(self.classes), where)

    def label_hint(self) -> str:
        return (
            f"pixels hold class ids, 0 to {len(self.classes) - 1}, and 255 is void: a mask of 0 and 255 has no class 1"
        )

    def loss(self, logits: Tensor, target: Tensor, reduce: Reduce = no_reduce) -> Tensor:
        return cross_entropy(logits, target, reduce)

    def predict(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return predict_classes(logits, size)

    def measure(self, prediction: Tensor, target: Tensor) -> Mapping[str, np.ndarray]:
        return class_counts(prediction, target, len(self.classes))

    def summarise(self, statistics: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
        ious = iou_metrics(statistics, self.classes)
        correct = float(sum(s["intersection"].sum() for s in statistics))
        labelled = float(sum(s["labelled"] for s in statistics))
        accuracy = 100 * correct / labelled if labelled else float("nan")
        return {"mIoU": ious.pop("mIoU"), "pixel_acc": accuracy} | ious

    def draw(self, value: np.ndarray) -> np.ndarray:
        return draw_classes(value, self.classes)

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        return class_legend(self.classes)
