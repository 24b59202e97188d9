"""Swin's windows on maps that they do not divide, as Swin's dense prediction has them.

The published code for detection and segmentation pads a map and then shifts it; timm shifts first, so that the mask of
the shifted windows, made for the padded map, misses the seam, and opposite borders of the image see each other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn


class PadFirstBlock(SwinTransformerBlock):
    """timm's block on a map padded to whole windows; the same where the windows divide it."""

    def _attn(self, x: Tensor) -> Tensor:
        """``(B, H, W, C)`` to the same shape."""
        H, W = x.shape[1:3]
        bottom, right = -H % self.window_size[0], -W % self.window_size[1]
        return super()._attn(F.pad(x, (0, 0, 0, right, 0, bottom)))[:, :H, :W]


def pad_first(model: nn.Module) -> None:
    """Give the Swin blocks of a timm model the published order of padding and shift."""
    for module in model.modules():
        if type(module) is SwinTransformerBlock:
            # neither parameters nor names change: a block of another class around them would change the names
            module.__class__ = PadFirstBlock


class _Windows:
    """Where each place of the shifted windows lies on a map, once per map's size and not once per block.

    Tensors of an exported graph: all sizes may be symbols, so that there is no remainder of anything but constants.
    """

    def __init__(self) -> None:
        self.known: dict[tuple, tuple[Tensor, Tensor, Tensor, Tensor | None]] = {}

    def __call__(self, block: SwinTransformerBlock, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """For a map ``(B, H, W, C)`` of n windows of N places each.

        Returns:
            ``(n·N)``, the pixel at each place (any pixel in the padding); ``(n·N, 1)``, 1 where there is one and 0 in
            the padding; ``(H·W)``, the place of each pixel; and ``(n, N, N)``, -100 between places that are not
            neighbours, None without a shift.
        """
        key = (block.input_resolution, block.window_size, block.shift_size)
        if key not in self.known:
            self.known[key] = self._find(block, x)
        return self.known[key]

    @staticmethod
    def _find(block: SwinTransformerBlock, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        (h, w), (down, right) = block.window_size, block.shift_size
        H, W = x.shape[1:3]
        rows, columns = (H + h - 1) // h, (W + w - 1) // w

        def count(n: int) -> Tensor:
            return torch.arange(n, device=x.device)

        def at(windows: int, side: int, shift: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
            """``(windows, side)``: the coordinate on the map, whether it is on it, and the region of the mask."""
            shifted = count(windows)[:, None] * side + count(side)
            wrapped = torch.where(shifted + shift >= windows * side, shifted + shift - windows * side, shifted + shift)
            region = (shifted >= windows * side - side).int() + (shifted >= windows * side - shift).int()
            return torch.where(wrapped < length, wrapped, 0), wrapped < length, region

        i, i_inside, i_region = at(rows, h, down, H)
        j, j_inside, j_region = at(columns, w, right, W)
        i, i_inside, i_region = (t[:, None, :, None] for t in (i, i_inside, i_region))
        j, j_inside, j_region = (t[None, :, None, :] for t in (j, j_inside, j_region))
        source = (i * W + j).reshape(rows * columns * h * w)
        inside = (i_inside & j_inside).to(x.dtype).reshape(rows * columns * h * w, 1)

        i, j = count(H)[:, None] - down, count(W)[None] - right
        i, j = torch.where(i < 0, i + rows * h, i), torch.where(j < 0, j + columns * w, j)
        place = ((i // h * columns + j // w) * (h * w) + i % h * w + j % w).reshape(H * W)

        if not (down or right):
            return source, inside, place, None
        region = (3 * i_region + j_region).reshape(rows * columns, h * w)
        mask = (region[:, None] != region[:, :, None]).to(x.dtype) * -100.0
        return source, inside, place, mask


class TraceableBlock(PadFirstBlock):
    """The same function in operations that a graph for images of any size can hold: a gather into the windows and one
    back. timm's slices and views, and its mask for one size, tie a graph to the size that it was traced with.
    """

    windows: _Windows

    def _attn(self, x: Tensor) -> Tensor:
        """``(B, H, W, C)`` to the same shape."""
        B, H, W, C = x.shape
        N = self.window_size[0] * self.window_size[1]
        source, inside, place, mask = self.windows(self, x)
        y = x.reshape(B, H * W, C).index_select(1, source) * inside
        y = self.attn(y.reshape(B * (source.shape[0] // N), N, C), mask=mask)
        return y.reshape(B, source.shape[0], C).index_select(1, place).reshape(B, H, W, C)


def make_traceable(model: nn.Module) -> None:
    """Give the Swin blocks of a timm model a form that exports for all sizes; anew before each trace or size."""
    windows = _Windows()
    for module in model.modules():
        if isinstance(module, PadFirstBlock):
            module.__class__ = TraceableBlock
            module.windows = windows  # type: ignore[assignment]


def largest_window(model: nn.Module) -> int:
    """Side of the largest attention window; 1 where there are none."""
    return max((max(m.window_size) for m in model.modules() if isinstance(m, SwinTransformerBlock)), default=1)
