"""Biases and relative position tables of their own for each task."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mtl.encoders.wrappers import outermost, own_modules
from mtl.methods.base import Adapter, TaskContext
from mtl.methods.channels import along_channels, channel_axis

TABLE = "relative_position_bias_table"


class BiasChange(Adapter):
    """Adds a change of the bias, ``(T, C)``, to what the module computes."""

    per_task = ("change",)

    def __init__(self, context: TaskContext, module: nn.Module, num_tasks: int) -> None:
        super().__init__(context)
        self.axis = channel_axis(module)
        self.change = nn.Parameter(torch.zeros(num_tasks, *module.get_parameter("bias").shape))

    def post(self, x: Tensor, y: Tensor) -> Tensor:
        y = self.context.split(y)
        change = along_channels(self.context.pick(self.change), y, self.axis)
        return (y + change.to(y.dtype)).flatten(0, 1)

    def merged(self, base: nn.Module, task: int) -> nn.Module:
        with torch.no_grad():
            base.get_parameter("bias").add_(self.change[task])
        return base


class TableChange(Adapter):
    """Adds a change, ``(T, entries, heads)``, to the table of an attention."""

    per_task = ("change",)

    def __init__(self, context: TaskContext, attention: nn.Module, num_tasks: int) -> None:
        super().__init__(context)
        table = attention.get_parameter(TABLE)
        self.change = nn.Parameter(torch.zeros(num_tasks, *table.shape))

    def forward(self, base: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        # an attention has one table: the active tasks pass through it one after the other
        name, attention = TABLE, base
        while getattr(attention, "is_wrapper", False):
            name, attention = f"base.{name}", attention.base  # type: ignore[assignment]
        changes, parts = self.context.pick(self.change), []
        for i, part in enumerate(self.context.split(x)):
            with self.context.only(i):
                table = getattr(attention, TABLE) + changes[i]
                parts.append(functional_call(base, {name: table}, (part, *args), kwargs))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def merged(self, base: nn.Module, task: int) -> nn.Module:
        with torch.no_grad():
            base.get_parameter(TABLE).add_(self.change[task])
        return base


def biased(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules of an encoder that have a bias, by path; those of adapters are left out."""
    return [(path, module) for path, module in own_modules(model) if module._parameters.get("bias") is not None]


def tables(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The attentions of an encoder that have a relative position table, by the path of their outermost adapter.

    An adapter that computes an attention anew (prompts in its windows) needs the attention itself as its base, and one
    that runs it for a table at a time stands around all others.
    """
    return [(outermost(model, path), module) for path, module in own_modules(model) if TABLE in module._parameters]
