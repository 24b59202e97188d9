"""A plain ViT's maps at the four scales that a dense decoder expects."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

STRIDES = (4, 8, 16, 32)


def to_pyramid(maps: Sequence[Tensor], image_size: tuple[int, int]) -> list[Tensor]:
    """Resample four maps ``(B, C, H/p, W/p)`` of one stride p to ``(B, C, H/s, W/s)``, s = 4, 8, 16, 32.

    Bilinear and without parameters, so that the encoder's count stays what the paper of the ViT says and every
    trained parameter belongs to a method or to a decoder.
    """
    H, W = image_size
    return [
        # not -(-H // s): in an exported graph a division of whole numbers may round towards zero
        F.interpolate(x, size=((H + s - 1) // s, (W + s - 1) // s), mode="bilinear", align_corners=False)
        for x, s in zip(maps, STRIDES, strict=True)
    ]
