"""What a task is: everything about one dense output in one place, target, loss, metric and picture.

The model, the loader, the evaluator and the visualiser only ever call the methods below; none of them knows a task
by name. A new task is one file with a subclass registered in `mtl.registry.TASKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from mtl.structures import VOID, TargetKind
from mtl.tasks.colours import is_background

Reduce = Callable[[Tensor], Tensor]
"""Sums a tensor over all processes; the identity in one process."""


def no_reduce(value: Tensor) -> Tensor:
    """The reduction of a single process."""
    return value


class Task:
    """One dense task.

    Args:
        name: the task's key in configs, folders, logs and tables.
        out_channels: channels of the decoder's output.
        loss_weight: weight of this task's loss in the sum.
    """

    kind: ClassVar[TargetKind]
    metric: ClassVar[str]
    """The one number of `summarise` that Δm and tables use."""
    unit: ClassVar[str] = ""
    """Of that number, as tables print it."""
    lower_is_better: ClassVar[tuple[str, ...]] = ()
    """The metrics of `summarise` that are errors; every other one is better when it is higher."""
    suffixes: ClassVar[tuple[str, ...]] = (".png",)
    """Of the label files that `read` takes."""

    def __init__(self, name: str, out_channels: int, loss_weight: float) -> None:
        self.name = name
        self.out_channels = out_channels
        self.loss_weight = loss_weight

    @property
    def higher_is_better(self) -> bool:
        """The direction of the main metric."""
        return self.metric not in self.lower_is_better

    # -- target ------------------------------------------------------------------------------------------------
    def read(self, path: Path) -> np.ndarray:
        """The label file ``path`` as an array of this task's kind; `ValueError` names the file and what is wrong."""
        raise NotImplementedError

    def from_array(self, array: np.ndarray, where: str) -> np.ndarray:
        """A target that a data set read in a format of its own, as `read` would give it; ``where`` names its file."""
        return array

    def check(self, target: np.ndarray, where: str) -> None:
        """Raise `ValueError` where the array is no valid target (class ids out of range); ``where`` names its file."""

    def label_counts(self, target: np.ndarray) -> dict[str, int]:
        """How many pixels of a target are of each class; of a kind without classes, how many are "labelled".

        All classes are named, as the legend does if it has a name for each, else by their ids.
        """
        if self.kind not in (TargetKind.CLASSES, TargetKind.EDGES):
            known = (target != self.kind.void(1, 1)).reshape(*target.shape[:2], -1).any(-1)
            return {"labelled": int(np.count_nonzero(known))}
        classes = max(self.out_channels, 2)  # one logit tells two classes apart
        names = [name for name, _ in self.legend()]
        if len(set(names)) != classes:
            names = [str(i) for i in range(classes)]
        pixels = np.bincount(target.reshape(-1), minlength=classes)
        return {name: int(n) for name, n in zip(names, pixels, strict=False)}

    def label_hint(self) -> str:
        """Told to a user if the labels hold nothing to learn from: what this task reads as void or as class 0."""
        return ""

    # -- loss --------------------------------------------------------------------------------------------------
    def loss(self, logits: Tensor, target: Tensor, reduce: Reduce = no_reduce) -> Tensor:
        """This process's share of the loss: summed over processes it is the loss of the whole batch.

        Args:
            logits: ``(B, K, h, w)`` at the decoder's resolution; B may be 0.
            target: ``(B, H, W)`` or ``(B, H, W, 3)``, of `kind`.
            reduce: sums counts over processes, so that every share is divided by the global count.

        Returns:
            A scalar, unweighted; exactly 0 with a zero gradient where nothing is labelled.
        """
        raise NotImplementedError

    # -- prediction and metric ---------------------------------------------------------------------------------
    def predict(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """``(B, K, h, w)`` logits to predictions at ``size`` = (H, W)."""
        raise NotImplementedError

    def measure(self, prediction: Tensor, target: Tensor) -> Mapping[str, np.ndarray] | None:
        """Statistics of one image, small arrays that `summarise` adds up; None where it does not count.

        Args:
            prediction: one image's, as `predict` gives it (without the batch axis), at the target's size.
            target: ``(H, W)`` or ``(H, W, 3)``.
        """
        raise NotImplementedError

    def summarise(self, statistics: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
        """All metrics of the set, in order of interest, in the units that tables print; NaN where there is no data."""
        raise NotImplementedError

    # -- picture -----------------------------------------------------------------------------------------------
    def draw(self, value: np.ndarray) -> np.ndarray:
        """A target or prediction ``(H, W[, 3])`` as an RGB picture, uint8 ``(H, W, 3)``; void is mid-grey."""
        raise NotImplementedError

    def coverage(self, value: np.ndarray) -> np.ndarray:
        """How much of the image the picture of a target or prediction hides in an overlay, float32 ``(H, W)`` in 0..1.

        Probabilities as far as they are high; ids of classes and edges unless they are void or a 0 whose label is
        "background"; vectors and depth everywhere.
        """
        if self.kind in (TargetKind.VECTORS, TargetKind.DEPTH):
            return np.ones(value.shape[:2], np.float32)
        if np.issubdtype(value.dtype, np.floating):
            return value.clip(0, 1).astype(np.float32)
        ground = any(is_background(label) for label, _ in self.legend()[:1])
        return ((value != VOID) & ((value != 0) | (not ground))).astype(np.float32)

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        """Label and RGB colour of each entry in the picture's legend."""
        return []


def upsample(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation of ``(B, K, h, w)`` to ``(B, K, *size)``, half-pixel centres."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)
