"""Prompts in Swin: a copy in every window, without bias and mask; what the windows make of it is averaged."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.methods.prompts.stream import Passed, PromptedAround, PromptedAttention, dropout_rate, inside


class SwinLayer(PromptedAround):
    """Prompts skip the roll and the partition of the tokens."""


class SwinAttention(PromptedAttention):
    def forward(self, base: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(A*B*W, N, C)``, W windows of N tokens, to the same shape; ``mask`` ``(W, N, N)``."""
        prompts = self.waiting()
        h, p, W = base.num_heads, prompts.shape[1], x.shape[0] // prompts.shape[0]
        # (3, A*B, W, h, tokens, C/h); every window has the same prompts
        tokens = base.qkv(x).unflatten(-1, (3, h, -1)).unflatten(0, (-1, W)).permute(3, 0, 1, 4, 2, 5)
        copies = base.qkv(prompts).unflatten(-1, (3, h, -1)).permute(2, 0, 3, 1, 4).unsqueeze(2)
        joint = torch.cat([copies.expand(-1, -1, W, -1, -1, -1).to(tokens.dtype), tokens], -2)
        q, k, v = (joint if self.carries else tokens)[0], joint[1], joint[2]
        bias = base._get_rel_pos_bias()  # (1, h, N, N)
        if mask is not None:
            bias = bias + mask.unsqueeze(1)
        bias = F.pad(bias, (p, 0, p if self.carries else 0, 0)).expand(W, -1, -1, -1).to(q.dtype)
        # images and windows on axes of their own, so that the mask need not be repeated for every image
        y = F.scaled_dot_product_attention(
            q.flatten(1, 2),
            k.flatten(1, 2),
            v.flatten(1, 2),
            bias.flatten(0, 1),
            dropout_rate(base),
            scale=base.scale,
        )
        y = y.unflatten(1, (W, h)).transpose(2, 3).flatten(3)  # (A*B, W, [p +] N, C)
        if self.carries:
            # the projection is linear: averaging over the windows before it is the same and cheaper
            self.stream.attended.append(base.proj_drop(base.proj(y[:, :, :p].mean(1))))
            y = y[:, :, p:]
        return base.proj_drop(base.proj(y.flatten(0, 1)))


class SwinMerging(Passed):
    """A prompt is merged with itself: its channels four times through the norm and the reduction."""

    def through(self, base: nn.Module, prompts: Tensor) -> Tensor:
        merging = inside(base)
        return merging.reduction(merging.norm(prompts.repeat(1, 1, 4)))
