"""Prompts in a plain ViT: tokens [CLS and further prefix, P, patches] inside of every layer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.methods.prompts.stream import Prompted, PromptedAttention, dropout_rate


class ViTLayer(Prompted):
    def forward(self, base: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """``(A*B, prefix + N, C)`` to the same shape."""
        prompts, n = self.entering(x), self.prefix
        y = base(torch.cat([x[:, :n], prompts, x[:, n:]], 1), *args, **kwargs)
        prefix, prompts, patches = y.split([n, self.prompts, y.shape[1] - n - self.prompts], 1)
        if self.carries:
            self.stream.carried = prompts
        return torch.cat([prefix, patches], 1)


class ViTAttention(PromptedAttention):
    """For the prefix form alone: other prompts are tokens of the whole layer."""

    def forward(self, base: Any, x: Tensor, attn_mask: None = None, is_causal: bool = False) -> Tensor:
        """``(A*B, N, C)`` to the same shape."""
        assert attn_mask is None, "the encoders of this framework mask nothing"
        assert not is_causal, "the encoders of this framework mask nothing"
        heads = base.num_heads
        q, k, v = base.qkv(x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = base.q_norm(q), base.k_norm(k)
        prefix = self.prefix(x.shape[0], k).unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
        k, v = torch.cat([prefix[0], k], 2), torch.cat([prefix[1], v], 2)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_rate(base), scale=base.scale)
        y = base.norm(y.transpose(1, 2).flatten(2))
        if base.gate is not None:
            y = y * base.gate(x).sigmoid()
        return base.proj_drop(base.proj(y))
