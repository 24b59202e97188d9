"""AdaptFormer: a scaled bottleneck with ReLU parallel to the MLP.

Paper: https://arxiv.org/abs/2205.13535, equations 2 and 3: ``y = mlp(LN(x)) + s * up(ReLU(down(LN(x))))``, LN the
frozen norm before the MLP.

Site: parallel to the MLP of every layer.

Trained, T tasks, layers of width d, bottleneck n:
    T * Σ (2dn + n + d)

Departures: the authors' code feeds the bottleneck the block's stream before the norm and drops out a tenth of its
hidden values while training; here it is the equation's normed input, without dropout. Down starts as `torch.nn.Linear`
does, up and the biases at zero, as in their code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.methods.bottleneck import GeneratedBottleneck, layers_of
from mtl.methods.weights import Bottleneck, Bottlenecks, Full
from mtl.registry import METHODS


@METHODS.register_module()
class AdaptFormer(Method):
    """See the module's docstring.

    Args:
        bottleneck: n, of every layer.
        scale: s.
    """

    per_task = ("adapters.*",)
    why_not_mergeable = "a bottleneck with a ReLU is no linear map"

    def __init__(self, bottleneck: int = 64, scale: float = 0.1) -> None:
        super().__init__()
        if bottleneck < 1:
            raise ValueError(f"bottleneck is at least 1, not {bottleneck}")
        self.bottleneck = bottleneck
        self.scale = scale

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        T, n, adapters = len(tasks), self.bottleneck, {}
        for site in layers_of(encoder, "mlp"):
            down, up = Full(T, n, site.dim, zero=False), Full(T, site.dim, n, zero=True)
            adapters[site.path] = Bottleneck(T, 0, site.dim, n, down, up)
            adapter = GeneratedBottleneck(self.context, site.path, activation=F.relu, scale=self.scale)
            self.replace(encoder, site.path, adapter)
        self.adapters = Bottlenecks(adapters)

    def generate(self) -> dict[str, Tensor]:
        return self.adapters()

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        n = self.bottleneck
        return num_tasks * sum(2 * site.dim * n + n + site.dim for site in layers_of(encoder, "mlp"))
