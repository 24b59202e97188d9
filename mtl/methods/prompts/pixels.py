"""Prompts of pixels: patches that go through the patch embedding with those of the image, and are tokens from there."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mtl.encoders.wrappers import inside
from mtl.methods.base import Adapter, TaskContext
from mtl.methods.prompts.stream import Stream, repeated


class PixelPrompts(Adapter):
    """The projection of the patch embedding, which leaves prompts for what follows.

    Args:
        stream: of the encoder.
        key: of the pixels ``(T, p or 1, 3*P*P)`` in the context's generated tensors.
        prompts: p.
        dropout: of the projected prompts.
    """

    def __init__(self, context: TaskContext, stream: Stream, key: str, prompts: int, dropout: float) -> None:
        super().__init__(context)
        self.stream = stream
        self.key = key
        self.prompts = prompts
        self.dropout = dropout

    def forward(self, base: nn.Module, x: Tensor) -> Tensor:
        pixels = self.context.pick_generated(self.key).to(x.dtype)
        patches = pixels.flatten(0, 1).unflatten(1, (x.shape[1], *inside(base).kernel_size))
        prompts = project_patches(base, patches)
        prompts = prompts.unflatten(0, pixels.shape[:2])
        self.stream.carried = repeated(prompts, x.shape[0], self.prompts, self.dropout, self.training)
        return base(x)


def project_patches(projection: nn.Module, patches: Tensor) -> Tensor:
    """Patches as large as a convolution's kernel, ``(R, C, P, P)`` to ``(R, C')``, each as it is inside of a map."""
    conv = inside(projection)
    # the first output that sees no padding, in a map that holds the patch there and nothing else
    first = [-(-pad // stride) for pad, stride in zip(conv.padding, conv.stride, strict=True)]
    top, left = (i * stride - pad for i, stride, pad in zip(first, conv.stride, conv.padding, strict=True))
    return projection(F.pad(patches, (left, 0, top, 0)))[:, :, first[0], first[1]]
