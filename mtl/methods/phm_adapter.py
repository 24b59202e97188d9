"""PHM adapter: an adapter whose projections are sums of Kronecker products.

Paper: https://arxiv.org/abs/2102.08597, section 3, ``W = Σ_i A_i ⊗ B_i``, i = 1..p, in adapters since
https://arxiv.org/abs/2106.04647 (equation 4), as the "PHM layer" of the Polyhistor benchmark,
https://arxiv.org/abs/2210.03265, section 5.2.

Site: parallel to the MLP of every layer (the benchmark's text says two places, its counts one); the rest is as in
`adapter`. The A_i (p x p) are shared by all tasks, layers and both projections.

Trained, T tasks, layers of width d, n = floor(d/λ) or the multiple of p below it:
    T * Σ (2dn/p + n + d + 2d) + p^3

Departures: the B_i of up start at zero (exact start); the A_i have the variance 1/p and the B_i of down that of
`torch.nn.Linear`, so that down keeps the scale of its input.
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
class PHMAdapter(Method):
    """See the module's docstring.

    Args:
        reduction: λ, the layer's width over the bottleneck's.
        p: how many products; it divides the d of every layer, and n is the multiple of it below d/λ.
        placement: "parallel" to the MLP or "sequential".
    """

    per_task = ("adapters.*",)
    why_not_mergeable = "a bottleneck with a GELU is no linear map"

    def __init__(self, reduction: float = 16, p: int = 2, placement: str = "parallel") -> None:
        super().__init__()
        self.reduction = reduction
        self.p = p
        self.placement = placement

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        T, adapters = len(tasks), {}
        for site in layers_of(encoder, "mlp"):
            d, n = site.dim, bottleneck_width(site.dim, self.reduction, self.p)
            down, up = Kronecker(T, n, d, self.p), Kronecker(T, d, n, self.p, zero=True)
            adapters[site.path] = Bottleneck(T, T, d, n, down, up)
            self.replace(encoder, site.path, GeneratedBottleneck(self.context, site.path, self.placement))
        self.adapters = Bottlenecks(adapters)
        self.slow = slow_matrices(self.p)

    def generate(self) -> dict[str, Tensor]:
        return self.adapters(self.slow)

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        sizes = [(s.dim, bottleneck_width(s.dim, self.reduction, self.p)) for s in layers_of(encoder, "mlp")]
        return num_tasks * sum(2 * d * n // self.p + n + d + 2 * d for d, n in sizes) + self.p**3
