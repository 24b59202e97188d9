"""Weights of bottleneck adapters that are parameters themselves, and their start.

A start keeps the encoder's output exactly: up is zero, LayerNorm the plain one. Down starts as `nn.Linear` does, with
entries of the variance 1 / (3 * inputs), however it is factorised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl.methods.bottleneck import prefixed


def uniform(variance: float, *shape: int) -> nn.Parameter:
    """Entries of U(-a, a) with this variance."""
    bound = (3 * variance) ** 0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def zeros(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


class Full(nn.Module):
    """Matrices ``(T, rows, columns)``; ``zero`` starts them at zero."""

    def __init__(self, num_tasks: int, rows: int, columns: int, zero: bool) -> None:
        super().__init__()
        shape = (num_tasks, rows, columns)
        self.weight = zeros(*shape) if zero else uniform(1 / (3 * columns), *shape)

    def forward(self) -> Tensor:
        return self.weight


class Factors(nn.Module):
    """Matrices ``p q``, ``(T, ..., rows, r) (T, ..., r, columns)``; ``zero`` starts p at zero.

    Args:
        leading: the axes before the matrices', the tasks' first.
        inputs: of the whole projection, where the matrices are blocks of it; ``columns`` by default.
    """

    def __init__(
        self, leading: Sequence[int], rows: int, columns: int, rank: int, zero: bool, inputs: int | None = None
    ) -> None:
        super().__init__()
        variance = (3 * (inputs or columns) * rank) ** -0.5
        self.p = zeros(*leading, rows, rank) if zero else uniform(variance, *leading, rows, rank)
        self.q = uniform(variance, *leading, rank, columns)

    def forward(self) -> Tensor:
        return self.p @ self.q


class Bottleneck(nn.Module):
    """All tensors of one adapter of width d and bottleneck n, as `GeneratedBottleneck` reads them.

    Args:
        num_tasks: T; 1 where the tasks share the projections.
        norm_tasks: T of the LayerNorm; 0 for none.
        down: a module whose call gives ``(T, n, d)``.
        up: a module whose call gives ``(T, d, n)``.
    """

    def __init__(self, num_tasks: int, norm_tasks: int, d: int, n: int, down: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.down, self.down_bias = down, zeros(num_tasks, n)
        self.up, self.up_bias = up, zeros(num_tasks, d)
        self.norm_weight = nn.Parameter(torch.ones(norm_tasks, d)) if norm_tasks else None
        self.norm_bias = zeros(norm_tasks, d) if norm_tasks else None

    def forward(self, *shared: Tensor) -> dict[str, Tensor]:
        """The tensors; ``shared`` is what several adapters' matrices are made with."""
        weights = {
            "down.weight": self.down(*shared),
            "down.bias": self.down_bias,
            "up.weight": self.up(*shared),
            "up.bias": self.up_bias,
        }
        if self.norm_weight is not None and self.norm_bias is not None:
            weights |= {"norm.weight": self.norm_weight, "norm.bias": self.norm_bias}
        return weights


class Bottlenecks(nn.ModuleList):
    """The tensors of the adapters at several sites.

    Args:
        adapters: site path to its `Bottleneck`.
    """

    def __init__(self, adapters: Mapping[str, Bottleneck]) -> None:
        super().__init__(adapters.values())
        self.keys = list(adapters)

    def forward(self, *shared: Tensor) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {}
        for key, adapter in zip(self.keys, self, strict=True):
            weights.update(prefixed(key, adapter(*shared)))
        return weights
