"""Shared adapter: one bottleneck per layer for all tasks, a LayerNorm per task before it.

Paper: the Polyhistor benchmark, https://arxiv.org/abs/2210.03265, section 5.2; the adapter is that of `adapter`.

Site: parallel to the MLP of every layer.

Trained, T tasks, layers of width d, n = floor(d/λ):
    Σ (2dn + n + d) + T * Σ 2d

The paper's second number (all trained parameters) fits decoders without norms of their own on the encoder's outputs
(``decoder.input_norm=False``); the first one does not depend on it. Departures: as in `adapter`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.methods.bottleneck import GeneratedBottleneck, bottleneck_width, layers_of
from mtl.methods.weights import Bottleneck, Bottlenecks, Full
from mtl.registry import METHODS


@METHODS.register_module()
class SharedAdapter(Method):
    """See the module's docstring.

    Args:
        reduction: λ, the layer's width over the bottleneck's.
        placement: "parallel" to the MLP or "sequential".
    """

    per_task = ("adapters.*.norm_*",)
    why_not_mergeable = "a bottleneck with a GELU is no linear map"

    def __init__(self, reduction: float = 8, placement: str = "parallel") -> None:
        super().__init__()
        self.reduction = reduction
        self.placement = placement

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        self.num_tasks, adapters = len(tasks), {}
        for site in layers_of(encoder, "mlp"):
            d, n = site.dim, bottleneck_width(site.dim, self.reduction)
            down, up = Full(1, n, d, zero=False), Full(1, d, n, zero=True)
            adapters[site.path] = Bottleneck(1, self.num_tasks, d, n, down, up)
            self.replace(encoder, site.path, GeneratedBottleneck(self.context, site.path, self.placement))
        self.adapters = Bottlenecks(adapters)

    def generate(self) -> dict[str, Tensor]:
        return {name: value.expand(self.num_tasks, *value.shape[1:]) for name, value in self.adapters().items()}

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        sizes = [(s.dim, bottleneck_width(s.dim, self.reduction)) for s in layers_of(encoder, "mlp")]
        return sum(2 * d * n + n + d for d, n in sizes) + num_tasks * sum(2 * d for d, _ in sizes)
