"""Learned channels beside the image's, and the weights that the patch embedding takes them with.

The embedding of 3 + p channels is the sum of the frozen one of the image and a trained one of the p channels, which
does not depend on the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.encoders.wrappers import inside
from mtl.methods.base import Adapter, Method, TaskContext
from mtl.methods.prompts.border import stretched
from mtl.methods.prompts.placing import projection_of

PIXELS, WEIGHT = "channels.pixels", "channels.weight"


class Channels(nn.Module):
    """The channels ``(T, p, H, W)`` and their weights ``(T, d, p, P, P)`` in the patch embedding."""

    def __init__(self, num_tasks: int, prompts: int, size: Sequence[int], projection: nn.Conv2d, bound: float) -> None:
        super().__init__()
        T, p, d = num_tasks, prompts, projection.out_channels
        self.pixels = nn.Parameter(torch.empty(T, p, *size).uniform_(-bound, bound))
        self.weight = nn.Parameter(torch.empty(T, d, p, *projection.kernel_size).uniform_(-bound, bound))

    def forward(self) -> dict[str, Tensor]:
        return {PIXELS: self.pixels, WEIGHT: self.weight}


class Concatenated(Adapter):
    """The projection of the patch embedding, on the image with its channels."""

    def __init__(self, context: TaskContext, dropout: float) -> None:
        super().__init__(context)
        self.dropout = dropout

    def forward(self, base: nn.Module, x: Tensor) -> Tensor:
        """``(A*B, 3, H, W)`` to ``(A*B, d, H', W')``; the channels are stretched to images of another size."""
        y, conv = self.context.split(base(x)), inside(base)
        pixels, weight = (self.context.pick_generated(key).to(x.dtype) for key in (PIXELS, WEIGHT))
        copies = y.shape[1] if self.training else 1  # each image drops pixels of its own
        pixels = stretched(pixels, x.shape[-2:]).unsqueeze(0).expand(copies, -1, -1, -1, -1)
        pixels = F.dropout(pixels, self.dropout, self.training)
        # a group for each task: (copies, A*p, H, W) to (copies, A*d, H', W')
        change = F.conv2d(
            pixels.flatten(1, 2), weight.flatten(0, 1), None, conv.stride, conv.padding, groups=len(weight)
        )
        return (y + change.unflatten(1, (len(weight), -1)).transpose(0, 1)).flatten(0, 1)


def concat_channels(method: Method, encoder: TimmEncoder, dropout: float) -> None:
    method.replace(encoder, projection_of(encoder).path, Concatenated(method.context, dropout))
