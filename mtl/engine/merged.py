"""The merged model: one plain encoder per distinct path with its tasks folded in, and the decoders.

Its file needs no base weights and no method. Only methods that declare `mergeable` have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.engine.adapter_file import load_matching, write_adapter
from mtl.methods.base import Method
from mtl.methods.baselines import PlainEncoders
from mtl.models.multitask import MultiTaskModel
from mtl.registry import ENCODERS

FORMAT = "mtl-merged-1"


class Merged(Method):
    """What stands in a merged model for the method that it was trained with; nothing of it trains.

    Args:
        groups: the tasks of each path.
        models: its timm model.
    """

    why_not_mergeable = "it is merged already"

    def __init__(self, groups: Sequence[Sequence[str]], models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.groups = [list(group) for group in groups]
        self.models = list(models)  # a list, so that they belong to the encoder alone

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        which = [next(i for i, group in enumerate(self.groups) if task in group) for task in tasks]
        encoder.model = PlainEncoders(self.models, which, self.context)

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        return 0

    def paths(self, tasks: Sequence[str]) -> list[list[str]]:
        groups = [[task for task in group if task in tasks] for group in self.groups]
        return [group for group in groups if group]


def merge(model: MultiTaskModel, config: Mapping[str, Any]) -> MultiTaskModel:
    """The model with its tasks folded into plain encoders, in eval mode; `ValueError` where that is not exact.

    Args:
        model: the trained model, which stays as it is.
        config: the configs that it was built from.
    """
    groups = model.method.paths(model.task_names)
    encoders = [model.method.merge(model.encoder, model.task_names.index(group[0])) for group in groups]
    merged = build_merged(config, groups)
    state = {
        f"encoder.model.models.{i}.{k}": v for i, part in enumerate(encoders) for k, v in part.state_dict().items()
    }
    state |= {f"decoders.{k}": v for k, v in model.decoders.state_dict().items()}
    fit_biases(merged, state)
    load_matching(merged, state, merged.state_dict(), "the merged model")
    return merged


def save_merged(model: MultiTaskModel, path: Path, config: Mapping[str, Any]) -> MultiTaskModel:
    """Write the merged model of ``model``, which is returned; ``config`` is as for `merge`, JSON values only."""
    merged = merge(model, config)
    state = {name: value.detach().cpu().clone().contiguous() for name, value in merged.state_dict().items()}
    meta = {"base": model.encoder.fingerprint, "config": config, "paths": model.method.paths(model.task_names)}
    write_adapter(path, state, meta, FORMAT)
    return merged


@torch.no_grad()
def difference(model: MultiTaskModel, exported: MultiTaskModel) -> float:
    """The largest one of the logits of any task, on a random batch of the encoder's size."""
    images = torch.randn(2, 3, *model.encoder.size, generator=torch.Generator().manual_seed(0))
    theirs = exported(images)
    return max(float((logits - theirs[task]).abs().max()) for task, logits in model(images).items())


def fit_biases(model: MultiTaskModel, state: Mapping[str, Tensor]) -> None:
    """Give layers that had no bias those of ``state``: merging makes some."""
    for path, module in model.encoder.named_modules():
        bias = state.get(f"encoder.{path}.bias")
        if bias is None or module._parameters.get("bias", bias) is not None:
            continue
        if bias.shape == module.weight.shape[:1]:
            module.bias = nn.Parameter(torch.empty_like(bias, device=module.weight.device), requires_grad=False)


def build_merged(config: Mapping[str, Any], groups: Sequence[Sequence[str]]) -> MultiTaskModel:
    """A merged model with random weights, in eval mode."""
    encoder = {**config["encoder"], "weights": False}
    models = [ENCODERS.build(encoder).model for _ in groups]
    method = {"type": Merged, "groups": groups, "models": models}
    return MultiTaskModel(**{**config, "encoder": encoder, "method": method}).eval()
