"""Prompts in a plain ViT: tokens [CLS and further prefix, P, patches] inside of every layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mtl.methods.prompts.stream import Prompted


class ViTLayer(Prompted):
    def forward(self, base: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """``(A*B, prefix + N, C)`` to the same shape."""
        prompts, n = self.entering(x), self.prefix
        y = base(torch.cat([x[:, :n], prompts, x[:, n:]], 1), *args, **kwargs)
        prefix, prompts, patches = y.split([n, self.prompts, y.shape[1] - n - self.prompts], 1)
        if self.carries:
            self.stream.carried = prompts
        return torch.cat([prefix, patches], 1)
