"""Human part segmentation: one part or background per pixel; cross-entropy, and mIoU over the images with a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from mtl.registry import TASKS
from mtl.structures import VOID, TargetKind
from mtl.tasks.base import Reduce, Task, no_reduce
from mtl.tasks.colours import class_legend, draw_classes
from mtl.tasks.label_files import check_class_ids, read_class_ids
from mtl.tasks.segmentation import class_counts, class_names, cross_entropy, iou_metrics, predict_classes

PASCAL_PARTS = ("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg")


@TASKS.register_module()
class HumanParts(Task):
    """Class-id PNG (grey or palette, 0 background, 255 void) in; ``(H, W)`` uint8 part ids out.

    An image whose label file has no part shows no person and counts neither in the loss nor in the metrics: it is read
    as void. Metrics in %: ``mIoU`` over background and the parts that occur in the set, and ``IoU/<part>``.

    Args:
        classes: the names of the classes 0..K-1, background first, or K.
        name: the task's key.
        loss_weight: weight of the loss.
    """

    kind = TargetKind.CLASSES
    metric = "mIoU"
    unit = "%"

    def __init__(
        self, classes: Sequence[str] | int = PASCAL_PARTS, name: str = "human_parts", loss_weight: float = 2.0
    ) -> None:
        self.classes = class_names(classes)
        super().__init__(name, len(self.classes), loss_weight)

    def read(self, path: Path) -> np.ndarray:
        parts = read_class_ids(path)
        return parts if _has_person(parts) else np.full_like(parts, VOID)

    def check(self, target: np.ndarray, where: str) -> None:
        check_class_ids(target, len(self.classes), where)

    def label_hint(self) -> str:
        return f"pixels hold part ids, 1 to {len(self.classes) - 1}; 255 is void, and so is a label without any part"

    def loss(self, logits: Tensor, target: Tensor, reduce: Reduce = no_reduce) -> Tensor:
        return cross_entropy(logits, target, reduce)

    def predict(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return predict_classes(logits, size)

    def measure(self, prediction: Tensor, target: Tensor) -> Mapping[str, np.ndarray] | None:
        return class_counts(prediction, target, len(self.classes)) if _has_person(target) else None

    def summarise(self, statistics: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
        return iou_metrics(statistics, self.classes)

    def draw(self, value: np.ndarray) -> np.ndarray:
        return draw_classes(value, self.classes)

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        return class_legend(self.classes)


def _has_person(parts: np.ndarray | Tensor) -> bool:
    return bool(((parts != 0) & (parts != VOID)).any())
