"""The fine-tuning baselines of the Polyhistor benchmark (https://arxiv.org/abs/2210.03265, section 5.2).

| method         | trained                             | encoder parameters |
|----------------|-------------------------------------|--------------------|
| SingleTaskFull | a whole encoder and decoder per task| T * P              |
| MultiTaskFull  | one encoder for all tasks           | P                  |
| DecodersOnly   | the decoders                        | 0                  |

P is the encoder without its final norm. Every base weight trains, in train mode (drop-path included).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method, TaskContext
from mtl.registry import METHODS


class PlainEncoders(nn.Module):
    """Several timm models; a task-major batch is split among those of the active tasks.

    Args:
        models: the timm models.
        which: the model of each task.
        context: the active tasks.
    """

    def __init__(self, models: Sequence[nn.Module], which: Sequence[int], context: TaskContext) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.which = list(which)
        self.context = context

    def forward_intermediates(self, x: Tensor, **options: Any) -> list[Tensor]:
        tasks = self.context.tasks
        maps = [
            cast(Any, self.models[self.which[task]]).forward_intermediates(part, **options)
            for task, part in zip(tasks, self.context.split(x), strict=True)
        ]
        return [torch.cat(scale) for scale in zip(*maps, strict=True)] if len(tasks) > 1 else maps[0]


@METHODS.register_module()
class SingleTaskFull(Method):
    """Fine-tune one whole encoder per task: what Δm is relative to."""

    mergeable = True
    copies = "encoder.model.models."

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        encoder.unfreeze()
        models = [encoder.model, *(copy.deepcopy(encoder.model) for _ in tasks[1:])]
        encoder.model = PlainEncoders(models, range(len(tasks)), self.context)
        self.attached.append(("", f"{len(tasks)} copies, all weights"))

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        return num_tasks * encoder.parameter_count

    def merge(self, encoder: TimmEncoder, task: int) -> nn.Module:
        return copy.deepcopy(encoder.model.models[task])


@METHODS.register_module()
class MultiTaskFull(Method):
    """Fine-tune one encoder that all tasks share."""

    shares_encoder = True
    mergeable = True

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        if encoder.trained:
            raise ValueError("the encoder's weights train already; MultiTaskFull is once in a composite")
        encoder.unfreeze()
        self.attached.append(("", "all weights"))

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        return encoder.parameter_count


@METHODS.register_module()
class DecodersOnly(Method):
    """Leave the encoder as it is; one frozen pass serves all tasks."""

    shares_encoder = True
    mergeable = True

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        pass

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        return 0
