"""Prompts in Swin: a copy in every window, without bias and mask; what the windows make of it is averaged.

Around the attention prompts skip the roll and the partition of the tokens (`PromptedAround`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.encoders.wrappers import inside
from mtl.methods.prompts.stream import Passed, PromptedAttention, dropout_rate


class SwinAttention(PromptedAttention):
    def forward(self, base: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(A*B*W, N, C)``, W windows of N tokens, to the same shape; ``mask`` ``(W, N, N)``."""
        h, tokens = base.num_heads, base.qkv(x)
        if self.key is None:
            copies = base.qkv(self.waiting())
            W = x.shape[0] // copies.shape[0]
        else:
            W = 1 if mask is None else mask.shape[0]  # without a mask windows are like images
            copies = self.prefix(x.shape[0] // W, tokens)
        p = copies.shape[1]
        # (3, A*B, W, h, tokens, C/h); every window has the same prompts
        tokens = tokens.unflatten(-1, (3, h, -1)).unflatten(0, (-1, W)).permute(3, 0, 1, 4, 2, 5)
        copies = copies.unflatten(-1, (-1, h, tokens.shape[-1])).permute(2, 0, 3, 1, 4).unsqueeze(2)
        copies = copies.expand(-1, -1, W, -1, -1, -1).to(tokens.dtype)
        k, v = torch.cat([copies[-2:], tokens[1:]], -2)
        q = torch.cat([copies[0], tokens[0]], -2) if self.carries else tokens[0]
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
