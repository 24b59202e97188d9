"""Per-task values of channels, wherever a module has its channels."""

from __future__ import annotations

from timm.layers import LayerNorm2d
from torch import Tensor, nn


def channel_axis(module: nn.Module) -> int:
    """The axis of the channels in what a layer of an encoder returns: 1 for maps ``(B, C, H, W)``, -1 for tokens."""
    return 1 if isinstance(module, (nn.Conv2d, LayerNorm2d)) else -1


def along_channels(picked: Tensor, x: Tensor, axis: int) -> Tensor:
    """Values of the active tasks ``(A, C)``, shaped to meet ``x``, ``(A, B, ...)`` with channels on ``axis``.

    ``axis`` is that of the unsplit batch ``(A*B, ...)``.
    """
    shape = [len(picked)] + [1] * (x.dim() - 1)
    shape[axis if axis < 0 else axis + 1] = picked.shape[1]
    return picked.reshape(shape)
