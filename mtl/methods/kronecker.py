"""Matrices that are sums of Kronecker products, ``W = Σ_i A_i ⊗ B_i`` (parameterised hypercomplex multiplication).

Paper: https://arxiv.org/abs/2102.08597, section 3; https://arxiv.org/abs/2106.04647 takes it for adapters (equation 4)
and makes each B_i of rank r (equation 5).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtl.methods.weights import Factors, uniform, zeros


def slow_matrices(p: int) -> nn.Parameter:
    """The A_i, ``(p, p, p)``, that all tasks, layers and projections share; entries of the variance 1/p.

    The p products then add up to the variance of the B_i.
    """
    return uniform(1 / p, p, p, p)


def kronecker_sum(slow: Tensor, fast: Tensor) -> Tensor:
    """``Σ_i A_i ⊗ B_i``: ``(p, a, b)`` and ``(T, p, c, d)`` to ``(T, a*c, b*d)``."""
    return torch.einsum("iab,ticd->tacbd", slow, fast).flatten(3, 4).flatten(1, 2)


class Kronecker(nn.Module):
    """Matrices ``(T, rows, columns)`` from p fast matrices ``(rows/p, columns/p)`` per task.

    Args:
        rank: of the fast matrices, which are then products; None for full ones.
        zero: start at zero.

    Raises:
        ValueError: p does not divide rows or columns.
    """

    def __init__(
        self, num_tasks: int, rows: int, columns: int, p: int, rank: int | None = None, zero: bool = False
    ) -> None:
        super().__init__()
        if p < 1 or rows % p or columns % p:
            raise ValueError(f"a PHM layer's p must divide its {columns} inputs and {rows} outputs; {p} does not")
        height, width = rows // p, columns // p
        if rank is not None and not 1 <= rank <= min(height, width):
            raise ValueError(f"rank must lie between 1 and {min(height, width)}, the fast matrices' size, not {rank}")
        shape = (num_tasks, p, height, width)
        self.factors = None if rank is None else Factors(shape[:2], height, width, rank, zero, inputs=columns)
        self.fast = None if rank is not None else zeros(*shape) if zero else uniform(1 / (3 * columns), *shape)

    def forward(self, slow: Tensor) -> Tensor:
        fast = self.fast if self.factors is None else self.factors()
        assert fast is not None
        return kronecker_sum(slow, fast)
