"""Monocular depth: metres per pixel; L1, and the root mean square and relative errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from mtl.registry import TASKS
from mtl.structures import TargetKind
from mtl.tasks.base import Reduce, Task, no_reduce, upsample
from mtl.tasks.colours import GREY
from mtl.tasks.label_files import read_array, read_levels16

RATIOS = (1.25, 1.25**2, 1.25**3)


@TASKS.register_module()
class Depth(Task):
    """Depth map in; ``(H, W)`` float32 metres along the optical axis out. Void is 0, infinite or NaN.

    A label file is a ``.npy`` of metres, or a 16-bit grey PNG of ``level`` metres a step.

    Metrics, over all labelled pixels of the set together: ``RMSE`` in metres; ``absRel``, the mean of |p - t| / t;
    ``RMSE_log`` of natural logarithms; ``delta1`` .. ``delta3``, the shares of pixels with max(p / t, t / p) below
    1.25, 1.25², 1.25³ in %. Predictions count as at least ``nearest`` metres.

    Args:
        name: the task's key.
        loss_weight: weight of the loss.
        level: metres of one grey level of a PNG.
        farthest: metres; labels beyond it are void. None for none.
        nearest: metres; the least depth that is predicted, which ratios and logarithms need.
    """

    kind = TargetKind.DEPTH
    metric = "RMSE"
    unit = "m"
    lower_is_better = ("RMSE", "absRel", "RMSE_log")
    suffixes = (".npy", ".png")

    def __init__(
        self,
        name: str = "depth",
        loss_weight: float = 1.0,
        level: float = 0.001,
        farthest: float | None = None,
        nearest: float = 0.001,
    ) -> None:
        super().__init__(name, out_channels=1, loss_weight=loss_weight)
        for key, value in {"level": level, "farthest": farthest, "nearest": nearest}.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name}: {key} is a positive number of metres, not {value}")
        self.level = level
        self.farthest = farthest
        self.nearest = nearest

    def read(self, path: Path) -> np.ndarray:
        depth = (
            read_array(path) if Path(path).suffix.lower() == ".npy" else read_levels16(path) * np.float32(self.level)
        )
        return self.from_array(depth, str(path))

    def from_array(self, depth: np.ndarray, where: str) -> np.ndarray:
        """An array of metres as a target: float32, void 0; ``where`` names its file in errors."""
        if depth.ndim == 3 and 1 in (depth.shape[0], depth.shape[2]):
            depth = depth[..., 0] if depth.shape[2] == 1 else depth[0]
        # integers are millimetres, as a camera gives them
        if depth.ndim != 2 or depth.dtype.kind != "f":
            raise ValueError(f"{where}: depth is (H, W) metres as floats, not {depth.shape} {depth.dtype}")
        depth = np.nan_to_num(depth.astype(np.float32), nan=0, posinf=0, neginf=0)
        if (depth < 0).any():
            raise ValueError(f"{where}: depth is metres, 0 where there is none; the least here is {depth.min()}")
        return depth if self.farthest is None else np.where(depth > self.farthest, np.float32(0), depth)

    def check(self, target: np.ndarray, where: str) -> None:
        if target.ndim != 2 or target.dtype != np.float32:
            raise ValueError(f"{where}: depth comes as (H, W) float32, not as {target.shape} {target.dtype}")
        if not ((target >= 0) & (target < np.inf)).all():
            raise ValueError(f"{where}: depth is finite metres of at least 0 (0 where there is no label)")

    def label_hint(self) -> str:
        beyond = "" if self.farthest is None else f" and whatever is farther than {self.farthest:g} m (farthest)"
        return f"void are 0, NaN, infinity{beyond}; a grey level of a PNG is {self.level:g} m (level)"

    def loss(self, logits: Tensor, target: Tensor, reduce: Reduce = no_reduce) -> Tensor:
        """Σ|prediction - target| over labelled pixels / their number, in metres."""
        labelled = target > 0
        error = (upsample(logits.float(), target.shape[-2:])[:, 0] - target).abs()
        return (error * labelled).sum() / reduce(labelled.sum()).clamp(min=1)

    def predict(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return upsample(logits.float(), size)[:, 0].clamp(min=self.nearest)

    def measure(self, prediction: Tensor, target: Tensor) -> Mapping[str, np.ndarray] | None:
        labelled = target > 0
        if not labelled.any():
            return None
        p, t = prediction[labelled].double().clamp(min=self.nearest), target[labelled].double()
        ratio = torch.maximum(p / t, t / p)
        sums = [(p - t).square(), ((p - t) / t).abs(), (p.log() - t.log()).square(), *(ratio < r for r in RATIOS)]
        pixels = labelled.sum().item()
        return {"sums": torch.stack([x.sum().double() for x in sums]).cpu().numpy(), "pixels": np.array(pixels)}

    def summarise(self, statistics: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
        names = ["RMSE", "absRel", "RMSE_log", "delta1", "delta2", "delta3"]
        if not statistics:
            return dict.fromkeys(names, float("nan"))
        pixels = sum(int(s["pixels"]) for s in statistics)
        means = np.sum([s["sums"] for s in statistics], axis=0) / pixels
        values = [np.sqrt(means[0]), means[1], np.sqrt(means[2]), *(100 * means[3:])]
        return {name: float(value) for name, value in zip(names, values, strict=True)}

    def draw(self, value: np.ndarray) -> np.ndarray:
        """Inverse depth in the colours of the map "turbo": near is red, far is blue; void grey."""
        near = np.divide(self.nearest_drawn, value, out=np.zeros(value.shape), where=value > 0)
        level = np.round(255 * np.minimum(near, 1)).astype(np.uint8)
        picture = np.ascontiguousarray(cv2.applyColorMap(level, cv2.COLORMAP_TURBO)[..., ::-1])
        picture[value <= 0] = GREY
        return picture

    nearest_drawn = 1.0
    """Metres that have the colour of what is nearest; the same in every picture, so that pictures compare."""

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        metres = np.array([[1.0, 2.0, 4.0, 8.0, 20.0]])
        return [
            (f"{'up to ' if m == 1 else ''}{m:g} m", tuple(colour))
            for m, colour in zip(metres[0], self.draw(metres)[0].tolist(), strict=True)
        ]
