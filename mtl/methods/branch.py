"""A branch per task off a stream that all tasks share: the last block of every stage, not the whole encoder.

A task-major batch ``(A*B, ...)`` of the same images becomes one of streams, ``((1+A)*B, ...)``: the shared one first,
then each active task's. They are apart in the last block of a stage only. Everywhere else the shared one runs alone
(`Trunk`) and is repeated where the encoder wants whole batches, between stages; so a stage's map has every stream, the
next stage goes on with the shared one, and the maps that leave the encoder (`BranchedModel`) have the tasks' alone.

What an adapter inside of a last block sees is all streams; it decides what they share. A method calls `branch` last,
when its adapters are in place, and sets `Method.branches`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mtl.encoders.sites import Site
from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Adapter, Method, TaskContext


class Trunk(Adapter):
    """A module that runs for the shared stream alone.

    Args:
        enters: all streams come in, the shared one is taken.
        leaves: what comes out is repeated for all streams.
    """

    def __init__(self, context: TaskContext, enters: bool, leaves: bool) -> None:
        super().__init__(context)
        self.enters = enters
        self.leaves = leaves

    def extra_repr(self) -> str:
        return f"enters={self.enters}, leaves={self.leaves}"

    def forward(self, base: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.enters:
            # Swin's mask may be one for the windows of an image, or one for every window of the batch
            whole = {k: v for k, v in kwargs.items() if isinstance(v, Tensor) and v.shape[0] == x.shape[0]}
            kwargs |= {k: self._shared(v) for k, v in whole.items()}
            x = self._shared(x)
        y = base(x, *args, **kwargs)
        return y.repeat(self.context.num_streams, *[1] * (y.dim() - 1)) if self.leaves else y

    def _shared(self, x: Tensor) -> Tensor:
        return self.context.streams(x)[0]


class BranchedModel(nn.Module):
    """A timm model with branches: a task-major batch of the same images to the tasks' maps."""

    def __init__(self, model: nn.Module, context: TaskContext) -> None:
        super().__init__()
        self.model: Any = model
        self.context = context

    def forward_intermediates(self, x: Tensor, **options: Any) -> list[Tensor]:
        tasks = self.context.split(x)
        maps = self.model.forward_intermediates(torch.cat([tasks[:1], tasks]).flatten(0, 1), **options)
        return [self.context.streams(y)[1:].flatten(0, 1) for y in maps]


def stages(encoder: TimmEncoder) -> list[list[Site]]:
    """The blocks that end in each of the encoder's maps."""
    found: dict[int, list[Site]] = {}
    for site in encoder.sites():
        if site.kind == "block":
            assert site.layer is not None
            stage = sum(tap < site.layer for tap in set(encoder.taps)) if encoder.plain else site.stage
            found.setdefault(stage, []).append(site)
    return list(found.values())


def branch(method: Method, encoder: TimmEncoder) -> None:
    """Make the last block of every stage of ``encoder`` run for all streams, everything else for the shared one."""
    for site in encoder.sites():
        if site.kind in ("patch_embed.proj", "downsample"):
            method.replace(encoder, site.path, Trunk(method.context, enters=True, leaves=True))
    for blocks in stages(encoder):
        for i, site in enumerate(blocks[:-1]):
            enters, leaves = i == 0, i == len(blocks) - 2
            if enters or leaves:
                method.replace(encoder, site.path, Trunk(method.context, enters, leaves))
    encoder.model = BranchedModel(encoder.model, method.context)
