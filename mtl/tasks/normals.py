"""Surface normals: a unit vector per pixel; L1 on normalised predictions, and the mean angular error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.registry import TASKS
from mtl.structures import TargetKind
from mtl.tasks.base import Reduce, Task, no_reduce, upsample
from mtl.tasks.colours import GREY
from mtl.tasks.label_files import read_image

WITHIN = (11.25, 22.5, 30.0)
"""Angles in degrees of the shares ``within_*``."""

_BINS_PER_DEGREE = 10
_NO_DIRECTION = 0.1
_DECODED = np.arange(256, dtype=np.float32) * np.float32(2 / 255) - 1


@TASKS.register_module()
class SurfaceNormals(Task):
    """RGB image in, ``(H, W, 3)`` float32 unit vectors out, in camera axes: x right, y up, z to the viewer.

    A label file holds n = 2v / 255 - 1, renormalised; void is black, or a vector shorter than 0.1 (mid-grey).

    Metrics, over all labelled pixels of the set together: ``mErr``, ``median`` and ``rmse`` of the angular error in
    degrees (the median interpolated within bins of 0.1 degrees), and the shares of pixels with an error below
    11.25, 22.5 and 30 degrees in %.

    Args:
        name: the task's key.
        loss_weight: weight of the loss.
    """

    kind = TargetKind.VECTORS
    metric = "mErr"
    unit = "°"
    lower_is_better = ("mErr", "median", "rmse")

    def __init__(self, name: str = "normals", loss_weight: float = 10.0) -> None:
        super().__init__(name, out_channels=3, loss_weight=loss_weight)

    def read(self, path: Path) -> np.ndarray:
        return decode_normals(read_image(path, channels=3))

    def check(self, target: np.ndarray, where: str) -> None:
        if target.ndim != 3 or target.shape[2] != 3 or target.dtype != np.float32:
            raise ValueError(f"{where}: normals come as (H, W, 3) float32, not as {target.shape} {target.dtype}")
        square = _square_length(target)
        # `not <=` rather than `>`: it catches NaN too
        if not ((np.abs(square - 1) <= 0.02) | (square == 0)).all():
            raise ValueError(f"{where}: normals are unit vectors, or zeros where there is no label")

    def label_hint(self) -> str:
        return "black and mid-grey are void; a component n is stored as the level 127.5 (n + 1)"

    def loss(self, logits: Tensor, target: Tensor, reduce: Reduce = no_reduce) -> Tensor:
        """Σ|normalised prediction - target| over labelled pixels / their number of elements (3 a pixel)."""
        # a larger eps than the default 1e-12, whose inverse is the gradient at a zero vector
        prediction = F.normalize(upsample(logits.float(), target.shape[1:3]), dim=1, eps=1e-6)
        labelled = (target != 0).any(-1)
        error = (prediction.permute(0, 2, 3, 1) - target).abs().sum(-1)
        return (error * labelled).sum() / reduce(3 * labelled.sum()).clamp(min=1)

    def predict(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return F.normalize(upsample(logits.float(), size), dim=1).permute(0, 2, 3, 1).contiguous()

    def measure(self, prediction: Tensor, target: Tensor) -> Mapping[str, np.ndarray] | None:
        labelled = (target != 0).any(-1)
        if not labelled.any():
            return None
        error = angle(prediction[labelled], target[labelled])
        bins = (error * _BINS_PER_DEGREE).long().clamp(max=180 * _BINS_PER_DEGREE - 1)
        sums = torch.stack([error.double().sum(), error.double().square().sum()])
        within = torch.stack([(error < degrees).sum() for degrees in WITHIN])
        return {
            "sums": sums.cpu().numpy(),
            "within": within.cpu().numpy(),
            "histogram": torch.bincount(bins, minlength=180 * _BINS_PER_DEGREE).int().cpu().numpy(),
        }

    def summarise(self, statistics: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
        shares = [f"within_{degrees:g}" for degrees in WITHIN]
        if not statistics:
            return dict.fromkeys(["mErr", "median", "rmse", *shares], float("nan"))
        histogram = np.asarray(np.sum([s["histogram"] for s in statistics], axis=0, dtype=np.int64))
        count = histogram.sum()
        mean, mean_square = np.sum([s["sums"] for s in statistics], axis=0) / count
        within = 100 * np.sum([s["within"] for s in statistics], axis=0) / count
        errors = {"mErr": float(mean), "median": _median(histogram), "rmse": float(np.sqrt(mean_square))}
        return errors | {key: float(share) for key, share in zip(shares, within, strict=True)}

    def draw(self, value: np.ndarray) -> np.ndarray:
        picture = np.round(127.5 * (value + 1)).astype(np.uint8)
        picture[(value == 0).all(-1)] = GREY
        return picture

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        colours = self.draw(np.eye(3)[None])[0].tolist()
        return [(label, tuple(colour)) for label, colour in zip(("right", "up", "to viewer"), colours, strict=True)]


def decode_normals(levels: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` uint8 levels v to unit vectors along 2v / 255 - 1, float32; black and mid-grey are void (zero)."""
    normals = cv2.LUT(levels, _DECODED)
    length = np.sqrt(_square_length(normals))
    void = (levels[..., 0] | levels[..., 1] | levels[..., 2]) == 0
    void |= length < _NO_DIRECTION
    return normals * np.where(void, np.float32(0), 1 / np.maximum(length, _NO_DIRECTION))[..., None]


def _square_length(vectors: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` to ``(H, W)`` float32; several times faster than a sum over the last axis."""
    x, y, z = cv2.split(vectors)
    return x * x + y * y + z * z


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Degrees between unit vectors ``(..., 3)``, as 2 atan2(|a - b|, |a + b|): arccos is off by 0.03 near 0 and 180."""
    return torch.rad2deg(2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1)))


def _median(histogram: np.ndarray) -> float:
    """The median in degrees of a histogram, linear within its bin."""
    upto = histogram.cumsum()
    half = upto[-1] / 2
    i = int(np.searchsorted(upto, half))
    return float(i + (half - (upto[i] - histogram[i])) / histogram[i]) / _BINS_PER_DEGREE
