"""A learned border around the image, the prompts of convolutional encoders.

The framed image is resized to the image's size, so that every map keeps its size. What the image became is then cut
out of the maps that leave the encoder, which lie over the image as without a border; the next stage goes on with the
whole map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Adapter, Method, TaskContext
from mtl.methods.prompts.stream import Stream

ROWS, COLUMNS = "border.rows", "border.columns"


class Border(nn.Module):
    """The pixels: above and below ``(T, 3, 2p, W + 2p)``, left and right ``(T, 3, H, 2p)``."""

    def __init__(self, num_tasks: int, pixels: int, size: Sequence[int], bound: float) -> None:
        super().__init__()
        (H, W), p = size, pixels
        self.rows = nn.Parameter(torch.empty(num_tasks, 3, 2 * p, W + 2 * p).uniform_(-bound, bound))
        self.columns = nn.Parameter(torch.empty(num_tasks, 3, H, 2 * p).uniform_(-bound, bound))

    def forward(self) -> dict[str, Tensor]:
        return {ROWS: self.rows, COLUMNS: self.columns}


class Framed(Adapter):
    """The stem, on the image with its border."""

    def __init__(self, context: TaskContext, pixels: int, dropout: float) -> None:
        super().__init__(context)
        self.pixels = pixels
        self.dropout = dropout

    def pre(self, x: Tensor) -> Tensor:
        """``(A*B, 3, H, W)`` to the same shape; the border is stretched to images of another size."""
        (H, W), p = x.shape[-2:], self.pixels
        rows, columns = self._side(ROWS, (2 * p, W + 2 * p), x), self._side(COLUMNS, (H, 2 * p), x)
        middle = torch.cat([columns[..., :p], x, columns[..., p:]], 3)
        framed = torch.cat([rows[:, :, :p], middle, rows[:, :, p:]], 2)
        return F.interpolate(framed, (H, W), mode="bilinear", align_corners=False)

    def _side(self, key: str, size: tuple[int, int], x: Tensor) -> Tensor:
        side = self.context.pick_generated(key).to(x.dtype)
        side = stretched(side, size)
        B = x.shape[0] // self.context.index.shape[0]
        side = side.unsqueeze(1).expand(-1, B, -1, -1, -1).flatten(0, 1)
        return F.dropout(side, self.dropout, self.training)


def stretched(pixels: Tensor, size: Sequence[int]) -> Tensor:
    """Learned pixels ``(A, C, H, W)`` for images of another size."""
    if tuple(pixels.shape[-2:]) == tuple(size):
        return pixels
    return F.interpolate(pixels, tuple(size), mode="bilinear", align_corners=False)


class CutOut(Adapter):
    """The last layer of a stage: leaves the part of the map that the image became, resampled to the map's size."""

    def __init__(self, context: TaskContext, stream: Stream, pixels: int, stride: int, carries: bool) -> None:
        super().__init__(context)
        self.stream = stream
        self.pixels = pixels
        self.stride = stride
        self.carries = carries

    def post(self, x: Tensor, y: Tensor) -> Tensor:
        """Maps ``(A*B, C, H, W)`` to the same shape."""
        if self.carries:
            self.stream.carried = y
        return self._samples(y.shape[2], y) @ y @ self._samples(y.shape[3], y).T

    def _samples(self, side: int, y: Tensor) -> Tensor:
        """Linear interpolation along an axis as a matrix ``(side, side)``."""
        cells, border = torch.arange(side, device=y.device, dtype=torch.float32), self.pixels / self.stride
        at = (cells + 0.5 + border) * (side / (side + 2 * border)) - 0.5
        return (1 - (at.clamp(0, side - 1)[:, None] - cells).abs()).clamp(min=0).to(y.dtype)


class WholeMap(Adapter):
    """The module after a stage, which goes on with the map that `CutOut` cut from."""

    def __init__(self, context: TaskContext, stream: Stream) -> None:
        super().__init__(context)
        self.stream = stream

    def pre(self, x: Tensor) -> Tensor:
        return self.stream.take()


def frame(method: Method, encoder: TimmEncoder, pixels: int, dropout: float) -> None:
    """A border around the images of a ConvNeXt."""
    stream, sites, info = Stream(), encoder.sites(), encoder.model.feature_info
    last = {site.stage: site for site in sites if site.kind == "block"}
    for site in sites:
        if site.kind == "patch_embed":
            method.replace(encoder, site.path, Framed(method.context, pixels, dropout))
        elif site.kind == "downsample":
            method.replace(encoder, site.path, WholeMap(method.context, stream))
        elif site is last.get(site.stage):
            stride, carries = info[site.stage]["reduction"], site.stage + 1 in last
            method.replace(encoder, site.path, CutOut(method.context, stream, pixels, stride, carries))
