"""Swin's windows on maps that they do not divide, as Swin's dense prediction has them.

The published code for detection and segmentation pads a map and then shifts it; timm shifts first, so that the mask of
the shifted windows, made for the padded map, misses the seam, and opposite borders of the image see each other.
"""

from __future__ import annotations

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
