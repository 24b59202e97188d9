"""DoRA: LoRA on the direction of a weight's rows, and a magnitude for each.

Paper: https://arxiv.org/abs/2402.09353, equation 5, ``W' = m (W + s B A) / ||W + s B A||``, and section 4.3: the
norm is no part of the gradient. One norm per output, as in the authors' code; the paper writes one per column.

Sites: as in `lora`.

Trained, T tasks, maps from d to d_out: T * Σ (r (d + d_out) + d_out).

Departures: m starts as the norms of W, computed as they are later, so that the start is exact. s is given itself.
In a composite it comes before the methods that change the same weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.encoders.wrappers import inside
from mtl.methods.base import Adapted, Adapter, Method, TaskContext
from mtl.methods.bias import BiasChange
from mtl.methods.targets import Target, add_to_parts, find_targets, low_rank_product
from mtl.methods.weights import uniform, zeros
from mtl.registry import METHODS


class DirectionChange(Adapter):
    """Chosen parts of a linear layer with the weight ``m (W + s B A) / ||W + s B A||``."""

    per_task = ("down", "up", "magnitude")

    def __init__(self, context: TaskContext, target: Target, num_tasks: int, rank: int, scale: float) -> None:
        super().__init__(context)
        self.scale = scale
        self.parts, self.chosen = target.parts, target.chosen
        T, P = num_tasks, len(target.chosen)
        self.down = uniform(1 / (3 * target.inputs), T, P, rank, target.inputs)
        self.up = zeros(T, P, target.outputs, rank)
        norms = self._rows(target.site.module.get_parameter("weight").detach()).norm(dim=-1)
        self.magnitude = nn.Parameter(norms.repeat(T, 1, 1))

    def forward(self, base: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        y = base(x, *args, **kwargs)
        down, up, magnitude = (self.context.pick(p) for p in (self.down, self.up, self.magnitude))
        rows = self._rows(inside(base).get_parameter("weight"))
        factor = magnitude / self._directions(rows, down, up).detach().norm(dim=-1)  # (A, P, outputs)
        tokens = x.reshape(self.context.index.shape[0], 1, -1, x.shape[-1])
        own = tokens @ rows.transpose(-1, -2)  # (A, P, tokens, outputs)
        factor = factor.unsqueeze(2).to(own.dtype)
        change = (factor - 1) * own + factor * self.scale * low_rank_product(tokens, down, up)
        return add_to_parts(y, change, self.parts, self.chosen)

    def merged(self, base: nn.Module, task: int) -> nn.Module:
        assert isinstance(base, nn.Linear)
        with torch.no_grad():
            directions = self._directions(self._rows(base.weight), self.down[task], self.up[task])
            weight = self.magnitude[task].unsqueeze(-1) * directions / directions.norm(dim=-1, keepdim=True)
            for i, part in enumerate(self.chosen):
                base.weight.chunk(self.parts)[part].copy_(weight[i])
        return base

    def _rows(self, weight: Tensor) -> Tensor:
        """The rows of the chosen parts, ``(P, outputs, inputs)``."""
        return weight.unflatten(0, (self.parts, -1))[list(self.chosen)]

    def _directions(self, rows: Tensor, down: Tensor, up: Tensor) -> Tensor:
        return rows + self.scale * (up @ down).to(rows.dtype)


def _check_plain_weight(module: nn.Module, path: str) -> None:
    """The pretrained weight is what gets a direction: merged into, it would be another one."""
    while isinstance(module, Adapted):
        if not isinstance(module.adapter, BiasChange):
            raise ValueError(f"{path!r} has a {type(module.adapter).__name__} already; DoRA must come before it")
        module = module.base


@METHODS.register_module()
class DoRA(Method):
    """See the module's docstring.

    Args:
        rank: r.
        scale: s.
        targets: of q, k, v, proj, fc1, fc2.
    """

    mergeable = True

    def __init__(self, rank: int = 4, scale: float = 4.0, targets: str | Sequence[str] = ("q", "v")) -> None:
        super().__init__()
        self.rank = rank
        self.scale = scale
        self.targets = targets

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        for target in self._targets(encoder):
            _check_plain_weight(encoder.model.get_submodule(target.site.path), target.site.path)
            change = DirectionChange(self.context, target, len(tasks), self.rank, self.scale)
            self.replace(encoder, target.site.path, change)

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        targets, r = self._targets(encoder), self.rank
        return num_tasks * sum(len(t.chosen) * (r * (t.inputs + t.outputs) + t.outputs) for t in targets)

    def _targets(self, encoder: TimmEncoder) -> list[Target]:
        return find_targets(encoder.sites(), self.targets, self.rank)
