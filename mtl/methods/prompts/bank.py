"""The parameters of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class StageShape:
    """The prompts of one stage.

    Attributes:
        keys: of its layers.
        rows: sets of prompts, one for each layer or one for all.
        prompts: p of a set.
        dim: d, the width of the stage.
        project: width k of what is projected to d; None without a projection.
    """

    keys: tuple[str, ...]
    rows: int
    prompts: int
    dim: int
    project: int | None

    def count(self) -> int:
        """Of one task."""
        k = self.project or self.dim
        return self.rows * self.prompts * k + (self.dim * (k + 1) if self.project else 0)


def start_bound(patch: int, width: int) -> float:
    """v of the U(-v, v) that prompts start at, P the patch size: sqrt(6 / (3 P² + d))."""
    return (6 / (3 * patch**2 + width)) ** 0.5


class StagePrompts(nn.Module):
    """``(T, rows, p, k)``, and the projections ``(T, d, k)`` with a bias."""

    def __init__(self, shape: StageShape, num_tasks: int, patch: int) -> None:
        super().__init__()
        T, k, bound = num_tasks, shape.project or shape.dim, start_bound(patch, shape.project or shape.dim)
        self.keys, self.rows = shape.keys, shape.rows
        self.prompts = nn.Parameter(torch.empty(T, shape.rows, shape.prompts, k).uniform_(-bound, bound))
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if shape.project:
            # Kaiming's normal distribution by the outputs, as in the authors' code
            self.weight = nn.Parameter(torch.randn(T, shape.dim, k) * (2 / shape.dim) ** 0.5)
            self.bias = nn.Parameter(torch.zeros(T, shape.dim))

    def forward(self) -> dict[str, Tensor]:
        """Every layer's prompts ``(T, p, d)``."""
        prompts: Tensor = self.prompts
        if self.weight is not None and self.bias is not None:
            prompts = prompts @ self.weight.mT.unsqueeze(1) + self.bias[:, None, None]
        return {key: prompts[:, i if self.rows > 1 else 0] for i, key in enumerate(self.keys)}


class Bank(nn.ModuleList):
    """The prompts of an encoder."""

    def __init__(self, shapes: Sequence[StageShape], num_tasks: int, patch: int) -> None:
        super().__init__(StagePrompts(shape, num_tasks, patch) for shape in shapes)

    def forward(self) -> dict[str, Tensor]:
        return {key: prompts for stage in self for key, prompts in stage().items()}
