"""Adapter: a bottleneck per task and layer.

Paper: https://arxiv.org/abs/1902.00751 (NLP), in the form of the Polyhistor benchmark, https://arxiv.org/abs/2210.03265,
section 5.2 and appendix F: ``y = mlp(x) + up(GELU(down(LayerNorm(x))))``, x the MLP's normed input.

Site: parallel to the MLP of every layer; ``placement="sequential"`` puts it behind, ``y + f(y)``, with the same count.

Trained, T tasks, layers of width d, n = floor(d/λ):
    T * Σ (2dn + n + d + 2d)

Where a LayerScale follows the MLP (DINOv2, ConvNeXt) it scales the adapter too.

Departures: up and its bias start at zero, so that the encoder's output is exactly unchanged at the start; down starts
as `torch.nn.Linear` does (the papers: both near zero).
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
class Adapter(Method):
    """See the module's docstring.

    Args:
        reduction: λ, the layer's width over the bottleneck's.
        placement: "parallel" to the MLP or "sequential".
    """

    per_task = ("adapters.*",)
    why_not_mergeable = "a bottleneck with a GELU is no linear map"

    def __init__(self, reduction: float = 8, placement: str = "parallel") -> None:
        super().__init__()
        self.reduction = reduction
        self.placement = placement

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        T, adapters = len(tasks), {}
        for site in layers_of(encoder, "mlp"):
            d, n = site.dim, bottleneck_width(site.dim, self.reduction)
            down, up = Full(T, n, d, zero=False), Full(T, d, n, zero=True)
            adapters[site.path] = Bottleneck(T, T, d, n, down, up)
            self.replace(encoder, site.path, GeneratedBottleneck(self.context, site.path, self.placement))
        self.adapters = Bottlenecks(adapters)

    def generate(self) -> dict[str, Tensor]:
        return self.adapters()

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        sizes = [(s.dim, bottleneck_width(s.dim, self.reduction)) for s in layers_of(encoder, "mlp")]
        return num_tasks * sum(2 * d * n + n + d + 2 * d for d, n in sizes)
