"""Prompts that are added to the tokens: one for each patch, or one for all."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mtl.methods.base import Adapter, TaskContext


class Added(Adapter):
    """Adds a layer's prompts, ``(T, N or 1, C)``, to its patches.

    Args:
        key: of the prompts in the context's generated tensors.
        prefix: tokens before the patches', to which nothing is added.
        dropout: of the prompts.
    """

    def __init__(self, context: TaskContext, key: str, prefix: int, dropout: float) -> None:
        super().__init__(context)
        self.key = key
        self.prefix = prefix
        self.dropout = dropout

    def pre(self, x: Tensor) -> Tensor:
        """``(A*B, prefix + N, C)`` or ``(A*B, H, W, C)``; `ValueError` for images with other numbers of tokens."""
        tokens = self.context.split(x).flatten(2, -2)
        added, N = self.context.pick_generated(self.key), tokens.shape[2] - self.prefix
        if added.shape[1] not in (1, N):
            raise ValueError(f"prompts are added to {added.shape[1]} tokens, the encoder's size, not to {N}")
        added = F.pad(added.expand(-1, N, -1), (0, 0, self.prefix, 0)).unsqueeze(1).to(x.dtype)
        added = F.dropout(added.expand_as(tokens), self.dropout, self.training)
        return (tokens + added).view_as(x)
