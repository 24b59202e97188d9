"""MTLoRA: low-rank changes that all tasks share, and from the last block of each stage a branch of its own for a task.

Paper: https://arxiv.org/abs/2403.20320; the equations are those of the authors' published code. Task-agnostic, on every
linear map of the blocks: ``y = W x + s B A x``. Task-specific beside it in a last block, for task t:
``y_t = W x + s B_t A_t x_t``, where x is what all tasks share and x_t what the block has made of the task's outputs
before (x itself at the first such map, proj). So attention and every W run once for all tasks. The shared stream goes
on to the next stage; the block's output for a task is the task's map of the stage.

Sites: qkv (or q and kv), proj, fc1 and fc2 of every block, task-specific at proj, fc1 and fc2 of each stage's last
block; in a plain ViT of the blocks whose outputs are taken. ConvNeXt has fc1 and fc2 only. With ``merging`` (MTLoRA+)
the linear maps between Swin's stages too, task-agnostic. The encoder's own weights of some kinds train besides, for all
tasks together: patch embedding, norms, relative position tables and the reductions between stages.

Trained, T tasks, linear maps from d_in to d_out:
    r Σ (d_in + d_out) + T r' Σ_last (d_in + d_out) + the own weights
    on Swin: 16 r Σ d - 5 r C_4 + 12 T r' Σ C_i + the own weights; with merging 6 r (C_1 + C_2 + C_3) more and, in the
    own weights, no reductions
With 5 r C_4 and the authors' decoders (1,946,624) Swin-T at r = 64, r' = 4 and T = 4 has the paper's 8.34 M.

Departures: fc2 of the very last block has no task-agnostic part, as nothing reads the shared stream behind it (the
authors' has one, 5 r C_4, which gets no gradient). The maps are those of every other method, before patch merging (the
authors take them behind it, at strides of 8, 16, 32 and 32). No dropout before A (theirs is 0.05).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl.encoders.sites import Site, select
from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Adapter, Method, TaskContext
from mtl.methods.bias import TABLE
from mtl.methods.branch import Trunk, branch, stages
from mtl.methods.targets import PARTS, check_rank, low_rank_product
from mtl.methods.weights import uniform, zeros
from mtl.registry import METHODS

OWN = ("patch_embed", "norm", "relative_position_bias", "downsample.reduction")
"""Kinds of sites whose own weights train."""

SPECIFIC = ("attn.proj", "mlp.fc1", "mlp.fc2")
"""Kinds of the maps that are task-specific in a last block."""


class TaskAgnostic(Adapter):
    """A linear layer's ``W x + s B A x``, for the shared stream."""

    def __init__(self, context: TaskContext, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__(context)
        self.scale = scale
        self.shared_down = uniform(1 / (3 * linear.in_features), rank, linear.in_features)
        self.shared_up = zeros(linear.out_features, rank)

    def post(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.scale * low_rank_product(x, self.shared_down, self.shared_up)


class TaskSpecific(Adapter):
    """A linear layer of a last block for all streams: the shared one's as in `TaskAgnostic`, each task's own.

    Args:
        shared: what is added to the shared stream; None for nothing.
        opens: the shared stream comes in, and all of them go out.
    """

    per_task = ("down", "up")

    def __init__(
        self,
        context: TaskContext,
        linear: nn.Linear,
        shared: TaskAgnostic | None,
        num_tasks: int,
        rank: int,
        scale: float,
        opens: bool,
    ) -> None:
        super().__init__(context)
        self.shared = shared
        self.scale = scale
        self.opens = opens
        self.down = uniform(1 / (3 * linear.in_features), num_tasks, rank, linear.in_features)
        self.up = zeros(num_tasks, linear.out_features, rank)

    def forward(self, base: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        streams = x.unsqueeze(0) if self.opens else self.context.streams(x)
        own = streams if self.opens else streams[1:]
        y = base(streams[0], *args, **kwargs)
        down, up = self.context.pick(self.down), self.context.pick(self.up)
        change = self.scale * low_rank_product(own.flatten(1, -2), down, up)  # (A, tokens, outputs)
        tasks = y + change.reshape(len(down), *y.shape)
        shared = y if self.shared is None else self.shared.post(streams[0], y)
        return torch.cat([shared.unsqueeze(0), tasks]).flatten(0, 1)


@METHODS.register_module()
class MTLoRA(Method):
    """See the module's docstring.

    Args:
        rank: r.
        task_rank: r'.
        scale: s, of both.
        merging: MTLoRA+, which changes the reductions between stages instead of training them.
        own: kinds of sites whose own weights train; None for all of `OWN` that the encoder has.
    """

    branches = True
    why_not_mergeable = "its tasks have a last block each in every stage, and one stream between them"

    def __init__(
        self,
        rank: int = 64,
        task_rank: int = 4,
        scale: float = 4.0,
        merging: bool = False,
        own: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.rank = rank
        self.task_rank = task_rank
        self.scale = scale
        self.merging = merging
        self.own = own

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        for weight in self._own(encoder):
            weight.requires_grad_(True)
        last = [blocks[-1].layer for blocks in stages(encoder)]
        attentions = [site for site in encoder.sites() if site.kind == "attn" and site.layer in last]
        for site, linear, agnostic, specific in self._maps(encoder):
            shared = TaskAgnostic(self.context, linear, self.rank, self.scale) if agnostic else None
            if specific:
                options = (len(tasks), self.task_rank, self.scale, site.kind == "attn.proj")
                self.replace(encoder, site.path, TaskSpecific(self.context, linear, shared, *options))
            elif shared is not None:
                self.replace(encoder, site.path, shared)
        for site in attentions:
            self.replace(encoder, site.path, Trunk(self.context, enters=True, leaves=False))  # its proj opens
        branch(self, encoder)

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        low_rank = sum(
            (self.rank * agnostic + num_tasks * self.task_rank * specific) * (linear.in_features + linear.out_features)
            for _, linear, agnostic, specific in self._maps(encoder)
        )
        return low_rank + sum(weight.numel() for weight in self._own(encoder))

    def _maps(self, encoder: TimmEncoder) -> list[tuple[Site, nn.Linear, bool, bool]]:
        """The linear maps, and whether each has a task-agnostic and task-specific parts."""
        kinds = (*PARTS, "downsample.reduction") if self.merging else tuple(PARTS)
        last = [blocks[-1].layer for blocks in stages(encoder)]
        found = []
        for site in encoder.sites():
            if site.kind in kinds and isinstance(site.module, nn.Linear):
                agnostic = not (site.kind == "mlp.fc2" and site.layer == last[-1])
                found.append((site, site.module, agnostic, site.kind in SPECIFIC and site.layer in last))
        if self.merging and not any(site.kind == "downsample.reduction" for site, *_ in found):
            raise ValueError("this encoder has no linear map between its stages; leave out merging")
        widths = [width for _, linear, *_ in found for width in (linear.in_features, linear.out_features)]
        check_rank(self.rank, widths)
        check_rank(self.task_rank, widths, "task_rank")
        return found

    def _own(self, encoder: TimmEncoder) -> list[nn.Parameter]:
        """The encoder's own weights that train, each once."""
        sites = encoder.sites()
        kinds = [kind for kind in OWN if any(site.kind == kind for site in sites)] if self.own is None else self.own
        found: dict[int, nn.Parameter] = {}
        for site in select(sites, kinds):
            if not (self.merging and site.kind == "downsample.reduction"):
                table = site.kind == "relative_position_bias"
                weights = [site.module.get_parameter(TABLE)] if table else site.module.parameters()
                found |= {id(weight): weight for weight in weights}
        return list(found.values())
