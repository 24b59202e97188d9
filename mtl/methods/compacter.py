"""Compacter and Compacter++: PHM adapters with fast matrices of rank 1.

Paper: https://arxiv.org/abs/2106.04647, equation 5, ``W = Σ_i A_i ⊗ (s_i t_i^T)``, i = 1..p.

Sites: after attention and after the MLP of every layer, ``y + f(y)`` (Compacter), or after the MLP alone
(Compacter++, ``sites="mlp"``). f is the adapter of `phm_adapter`; the A_i (p x p) are shared by everything.

Trained, T tasks, layers of width d, n = floor(d/λ) or the multiple of p below it, rank 1:
    places * T * Σ (2(d+n) + n + d + 2d) + p^3

Departures: as in `phm_adapter`. The Polyhistor benchmark gives each adapter a LayerNorm, which Compacter's have not;
its counts are followed.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.methods.bottleneck import GeneratedBottleneck, bottleneck_width, layers_of
from mtl.methods.kronecker import Kronecker, slow_matrices
from mtl.methods.weights import Bottleneck, Bottlenecks
from mtl.registry import METHODS


@METHODS.register_module()
class Compacter(Method):
    """See the module's docstring; Compacter++ is ``sites="mlp"``.

    Args:
        reduction: λ, the layer's width over the bottleneck's.
        p: how many products; it divides the d of every layer, and n is the multiple of it below d/λ.
        rank: of the fast matrices.
        sites: where adapters follow.
        placement: "sequential", behind the site, or "parallel" to it.
    """

    per_task = ("adapters.*",)
    why_not_mergeable = "a bottleneck with a GELU is no linear map"

    def __init__(
        self,
        reduction: float = 8,
        p: int = 2,
        rank: int = 1,
        sites: str | Sequence[str] = ("attn", "mlp"),
        placement: str = "sequential",
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.p = p
        self.rank = rank
        self.sites = sites
        self.placement = placement

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        T, adapters = len(tasks), {}
        for site in layers_of(encoder, self.sites):
            d, n = site.dim, bottleneck_width(site.dim, self.reduction, self.p)
            down = Kronecker(T, n, d, self.p, self.rank)
            up = Kronecker(T, d, n, self.p, self.rank, zero=True)
            adapters[site.path] = Bottleneck(T, T, d, n, down, up)
            self.replace(encoder, site.path, GeneratedBottleneck(self.context, site.path, self.placement))
        self.adapters = Bottlenecks(adapters)
        self.slow = slow_matrices(self.p)

    def generate(self) -> dict[str, Tensor]:
        return self.adapters(self.slow)

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        sizes = [(s.dim, bottleneck_width(s.dim, self.reduction, self.p)) for s in layers_of(encoder, self.sites)]
        return num_tasks * sum(2 * self.rank * (d + n) + n + d + 2 * d for d, n in sizes) + self.p**3
