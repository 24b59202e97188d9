"""Low-rank adapter: an adapter whose two projections are products of rank r.

Paper: the Polyhistor benchmark, https://arxiv.org/abs/2210.03265, section 5.2; the adapter is that of `adapter`, with
``W = p q``.

Site: parallel to the MLP of every layer.

Trained, T tasks, layers of width d, n = floor(d/λ), r = max(1, floor(n / rank_divisor)):
    T * Σ (2r(d+n) + n + d + 2d)

Departures: as in `adapter`; at the start the product of down's factors has entries of the variance that
`torch.nn.Linear` has.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtl.encoders.sites import Site
from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.methods.bottleneck import GeneratedBottleneck, bottleneck_width, layers_of, low_rank
from mtl.methods.weights import Bottleneck, Bottlenecks, Factors
from mtl.registry import METHODS


@METHODS.register_module()
class LowRankAdapter(Method):
    """See the module's docstring.

    Args:
        reduction: λ, the layer's width over the bottleneck's.
        rank_divisor: r = max(1, floor(n / rank_divisor)).
        rank: r itself, for all layers, instead.
        placement: "parallel" to the MLP or "sequential".
    """

    per_task = ("adapters.*",)
    why_not_mergeable = "a bottleneck with a GELU is no linear map"

    def __init__(
        self,
        reduction: float = 16,
        rank_divisor: int = 4,
        rank: int | None = None,
        placement: str = "parallel",
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.rank_divisor = rank_divisor
        self.rank = rank
        self.placement = placement

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        T, adapters = len(tasks), {}
        for site in layers_of(encoder, "mlp"):
            d, n, r = self._size(site)
            down, up = Factors([T], n, d, r, zero=False), Factors([T], d, n, r, zero=True)
            adapters[site.path] = Bottleneck(T, T, d, n, down, up)
            self.replace(encoder, site.path, GeneratedBottleneck(self.context, site.path, self.placement))
        self.adapters = Bottlenecks(adapters)

    def generate(self) -> dict[str, Tensor]:
        return self.adapters()

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        sizes = [self._size(site) for site in layers_of(encoder, "mlp")]
        return num_tasks * sum(2 * r * (d + n) + n + d + 2 * d for d, n, r in sizes)

    def _size(self, site: Site) -> tuple[int, int, int]:
        n = bottleneck_width(site.dim, self.reduction)
        return site.dim, n, low_rank(n, self.rank_divisor, self.rank)
