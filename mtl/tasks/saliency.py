"""Saliency: the probability that a pixel belongs to what stands out; balanced BCE, and mIoU at the best threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtl.registry import TASKS, choices
from mtl.structures import VOID, TargetKind
from mtl.tasks.base import Reduce, Task, no_reduce
from mtl.tasks.binary import balanced_cross_entropy, binary_legend, draw_binary, predict_probability
from mtl.tasks.label_files import check_class_ids, read_class_ids, read_image

BETA2 = 0.3
"""β² of the F-measure (Achanta et al., CVPR 2009)."""

LABELS = ("mask", "ids")


def _ratio(part: Tensor, whole: Tensor, both_empty: Tensor) -> np.ndarray:
    """part / whole per threshold; 0 / 0 is 1 where prediction and label are both empty, else 0."""
    return torch.where(both_empty, 1.0, part / whole.clamp(min=1)).double().cpu().numpy()


@TASKS.register_module()
class Saliency(Task):
    """Mask or soft map in; ``(H, W)`` float32 probabilities out. Targets are 0, 1 (salient) and 255 (void).

    A label file is an 8-bit grey, palette or 1-bit image.

    Metrics in %, at the 15 thresholds linspace(0.2, 0.9), a prediction being salient where strictly above:

    - ``mIoU``: foreground IoU per image (1 where prediction and label are both empty), averaged over the images, at
      the best threshold.
    - ``maxF``: (1 + β²)PR / (β²P + R), β² = 0.3, at the best threshold, from precision P and recall R averaged over
      the images (both 1 where prediction and label are empty, 0 for any other division by zero).

    Args:
        name: the task's key.
        loss_weight: weight of the loss.
        labels: what label files hold: "mask", grey levels v, salient where v / 255 > 0.5 (masks of 0 and 255, distilled
            soft maps); "ids", 0, 1 and 255 for void.
    """

    kind = TargetKind.CLASSES
    metric = "mIoU"
    unit = "%"

    def __init__(self, name: str = "saliency", loss_weight: float = 5.0, labels: str = "mask") -> None:
        super().__init__(name, out_channels=1, loss_weight=loss_weight)
        if labels not in LABELS:
            raise ValueError(f"unknown labels {labels!r} of {name}; {choices(LABELS, labels)}")
        self.labels = labels
        self.thresholds = torch.linspace(0.2, 0.9, 15)

    def read(self, path: Path) -> np.ndarray:
        if self.labels == "ids":
            return read_class_ids(path)
        return (read_image(path, channels=1, levels=True) > 127).astype(np.uint8)

    def check(self, target: np.ndarray, where: str) -> None:
        check_class_ids(target, 2, where)

    def label_hint(self) -> str:
        if self.labels == "ids":
            return "labels='ids': 1 is salient and 255 void; masks of 0 and 255 are labels='mask'"
        return "labels='mask': grey levels above 127 are salient; masks of 0 and 1 are labels='ids'"

    def loss(self, logits: Tensor, target: Tensor, reduce: Reduce = no_reduce) -> Tensor:
        """Balanced binary cross-entropy [w Σ_pos + (1 - w) Σ_neg] / all; w = negatives / all of the whole batch."""
        return balanced_cross_entropy(logits, target, reduce)

    def predict(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return predict_probability(logits, size)

    def measure(self, prediction: Tensor, target: Tensor) -> Mapping[str, np.ndarray] | None:
        labelled = target != VOID
        if not labelled.any():
            return None
        positive = target[labelled] == 1
        # how many thresholds a pixel is strictly above: one pass over the pixels for all of them
        level = torch.bucketize(prediction[labelled], self.thresholds.to(prediction.device))
        counts = torch.bincount(2 * level + positive, minlength=2 * (len(self.thresholds) + 1)).view(-1, 2)
        above = counts.flip(0).cumsum(0).flip(0)[1:]
        hits, predicted, salient = above[:, 1], above.sum(1), positive.sum()
        union = predicted + salient - hits
        return {
            "jaccard": _ratio(hits, union, union == 0),
            "precision": _ratio(hits, predicted, union == 0),
            "recall": _ratio(hits, salient, union == 0),
        }

    def summarise(self, statistics: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
        if not statistics:
            return {"mIoU": float("nan"), "maxF": float("nan")}
        jaccard, p, r = (np.mean([s[key] for s in statistics], axis=0) for key in ("jaccard", "precision", "recall"))
        f = np.divide((1 + BETA2) * p * r, BETA2 * p + r, out=np.zeros_like(p), where=p * r > 0)
        return {"mIoU": 100 * float(jaccard.max()), "maxF": 100 * float(f.max())}

    def draw(self, value: np.ndarray) -> np.ndarray:
        return draw_binary(value)

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        return binary_legend("salient")
