"""LoRA: a low-rank change of linear maps.

Paper: https://arxiv.org/abs/2106.09685, equation 3: ``y = W x + s B A x``, A ``(r, d)``, B ``(d_out, r)``; in the
Polyhistor benchmark (https://arxiv.org/abs/2210.03265, section 5.2) with a bias beside B, r = 4 and s = 4.

Sites: the query and value maps of every attention, whether they are fused (Swin, ViT) or not (PVT); ``targets`` takes
q, k, v, proj, fc1 and fc2. ConvNeXt has fc1 and fc2 only.

Trained, T tasks, maps from d to d_out: T * Σ (r (d + d_out) + d_out); with q and v of width d and r = 4, T * 18 Σ d.

Departures: s multiplies the product alone and not the bias, so that without the bias this is the paper's LoRA; s is
given itself (the paper: alpha / r). A starts as `torch.nn.Linear` does, as in the authors' code (the paper: Gaussian),
B and the bias at zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Adapter, Method, TaskContext
from mtl.methods.targets import Target, add_to_parts, find_targets, low_rank_product
from mtl.methods.weights import uniform, zeros
from mtl.registry import METHODS


class LowRankChange(Adapter):
    """Adds ``s B A x + bias`` to chosen parts of a linear layer's output."""

    def __init__(
        self, context: TaskContext, target: Target, num_tasks: int, rank: int, scale: float, bias: bool
    ) -> None:
        super().__init__(context)
        self.scale = scale
        self.parts, self.chosen = target.parts, target.chosen
        T, P = num_tasks, len(target.chosen)
        self.down = uniform(1 / (3 * target.inputs), T, P, rank, target.inputs)
        self.up = zeros(T, P, target.outputs, rank)
        self.bias = zeros(T, P, target.outputs) if bias else None
        self.per_task = ("down", "up", "bias") if bias else ("down", "up")

    def post(self, x: Tensor, y: Tensor) -> Tensor:
        down, up = self.context.pick(self.down), self.context.pick(self.up)
        tokens = x.reshape(self.context.index.shape[0], 1, -1, x.shape[-1])
        change = self.scale * low_rank_product(tokens, down, up)  # (A, P, tokens, outputs)
        if self.bias is not None:
            change = change + self.context.pick(self.bias).unsqueeze(2).to(change.dtype)
        return add_to_parts(y, change, self.parts, self.chosen)

    def merged(self, base: nn.Module, task: int) -> nn.Module:
        assert isinstance(base, nn.Linear)
        if self.bias is not None and base.bias is None:
            base.bias = nn.Parameter(base.weight.new_zeros(base.out_features), requires_grad=False)
        with torch.no_grad():
            for i, part in enumerate(self.chosen):
                base.weight.chunk(self.parts)[part].add_(self.scale * self.up[task, i] @ self.down[task, i])
                if self.bias is not None:
                    base.bias.chunk(self.parts)[part].add_(self.bias[task, i])
        return base


@METHODS.register_module()
class LoRA(Method):
    """See the module's docstring.

    Args:
        rank: r.
        scale: s.
        targets: of q, k, v, proj, fc1, fc2.
        bias: train a bias beside B.
    """

    mergeable = True

    def __init__(
        self, rank: int = 4, scale: float = 4.0, targets: str | Sequence[str] = ("q", "v"), bias: bool = True
    ) -> None:
        super().__init__()
        self.rank = rank
        self.scale = scale
        self.targets = targets
        self.bias = bias

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        for target in self._targets(encoder):
            change = LowRankChange(self.context, target, len(tasks), self.rank, self.scale, self.bias)
            self.replace(encoder, target.site.path, change)

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        targets, r = self._targets(encoder), self.rank
        return num_tasks * sum(len(t.chosen) * (r * (t.inputs + t.outputs) + self.bias * t.outputs) for t in targets)

    def _targets(self, encoder: TimmEncoder) -> list[Target]:
        return find_targets(encoder.sites(), self.targets, self.rank)
