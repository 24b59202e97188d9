"""A method in a package of its own: one scale per channel and task behind every MLP, ``y * (1 + s)``.

Trained: T * Σ_l d_l.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl.encoders.sites import select
from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Adapter, Method, TaskContext
from mtl.registry import METHODS


class Scale(Adapter):
    per_task = ("scale",)

    def __init__(self, context: TaskContext, num_tasks: int, dim: int) -> None:
        super().__init__(context)
        self.scale = nn.Parameter(torch.zeros(num_tasks, dim))

    def post(self, x: Tensor, y: Tensor) -> Tensor:
        scale = self.context.pick(self.scale)
        z = y.reshape(len(scale), -1, y.shape[-1])
        return (z * (1 + scale.unsqueeze(1))).reshape(y.shape)


@METHODS.register_module()
class ChannelScale(Method):
    why_not_mergeable = "nobody has written it"

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        for site in select(encoder.sites(), "mlp"):
            self.replace(encoder, site.path, Scale(self.context, len(tasks), site.dim))

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        return num_tasks * sum(site.dim for site in select(encoder.sites(), "mlp"))
