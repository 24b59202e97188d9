"""Prompts in PVT, v1 and v2: queries, and keys and values that are not reduced.

The paper has no PVT; what it says of Swin is carried over: prompts skip what works on the map (spatial reduction, the
depthwise convolution of v2's MLP), and a patch embedding between stages sees a patch that is the prompt everywhere.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.encoders.wrappers import inside
from mtl.methods.prompts.pixels import project_patches
from mtl.methods.prompts.stream import Passed, PromptedAround, PromptedAttention, dropout_rate


class PVTLayer(PromptedAround):
    def mlp(self, mlp: Any, prompts: Tensor) -> Tensor:
        own = inside(mlp)
        if not hasattr(own, "dwconv"):
            return mlp(prompts)
        return own.drop(own.fc2(own.drop(own.act(own.relu(own.fc1(prompts))))))


class PVTAttention(PromptedAttention):
    def forward(self, base: Any, x: Tensor, feat_size: tuple[int, int]) -> Tensor:
        """``(A*B, N, C)`` to the same shape; N = H*W of ``feat_size``."""
        sources, queries, p = _reduced(base, x, feat_size), x, 0
        if self.key is None:
            prompts = self.waiting()
            p, sources = prompts.shape[1], torch.cat([prompts, sources], 1)
            queries = torch.cat([prompts, x], 1) if self.carries else x
        kv = base.kv(sources)
        if self.key is not None:
            kv = torch.cat([self.prefix(x.shape[0], kv), kv], 1)
        q = base.q(queries).unflatten(-1, (-1, base.head_dim)).transpose(1, 2)
        k, v = kv.unflatten(-1, (2, -1, base.head_dim)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_rate(base))
        y = base.proj(y.transpose(1, 2).flatten(2))
        if hasattr(base, "proj_drop"):
            y = base.proj_drop(y)
        if self.carries:
            self.stream.attended.append(y[:, :p])
            y = y[:, p:]
        return y


class PVTEmbedding(Passed):
    def through(self, base: nn.Module, prompts: Tensor) -> Tensor:
        embedding = inside(base)
        patches = prompts.flatten(0, 1)[:, :, None, None].expand(-1, -1, *inside(embedding.proj).kernel_size)
        return embedding.norm(project_patches(embedding.proj, patches).unflatten(0, prompts.shape[:2]))


def _reduced(attention: Any, x: Tensor, feat_size: tuple[int, int]) -> Tensor:
    """What the tokens' keys and values are made of, ``(A*B, N, C)`` to ``(A*B, N', C)``."""
    if attention.sr is None:
        return x
    grid, pool = x.transpose(1, 2).unflatten(2, tuple(feat_size)), getattr(attention, "pool", None)
    if pool is not None:
        grid = pool(grid)
    x = attention.norm(attention.sr(grid).flatten(2).transpose(1, 2))
    return x if pool is None else attention.act(x)
