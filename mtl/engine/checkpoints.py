"""Reading full checkpoints, and what is checked of one before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from mtl.encoders.weights import read_tensors
from mtl.engine.adapter_file import check_build, load_adapter, load_matching
from mtl.models.multitask import MultiTaskModel


def model_of(runner: Runner) -> MultiTaskModel:
    """The runner's model, out of its distributed wrapper."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def load_trained(model: MultiTaskModel, path: Path, build: Mapping[str, Any] | None = None) -> None:
    """Load an adapter file (``.safetensors``) or a full checkpoint's weights into the model that it is of.

    Nothing but tensors and plain values is unpickled; `ValueError` where the file is of another model.

    Args:
        build: the configs that the model was built from, to compare with the file's.
    """
    if path.suffix == ".safetensors":
        load_adapter(model, path, build)
        return
    checkpoint = read_checkpoint(path)
    check_build(checkpoint.get("build"), build, str(path))
    load_matching(model, checkpoint["state_dict"], model.state_dict(), str(path))


def read_checkpoint(path: Path, resume: bool = False) -> dict[str, Any]:
    """A full checkpoint, read without running code from it; ``resume`` asks for what a training goes on from."""
    if path.suffix == ".safetensors":
        raise ValueError(
            f"{str(path)!r} is an adapter file, without the optimizer's state; resume from the .pth beside it"
        )
    checkpoint = read_tensors(path)
    state, meta = checkpoint.get("state_dict"), checkpoint.get("meta")
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{str(path)!r} is not a checkpoint of this framework: it has no state_dict of tensors")
    if resume and not (
        isinstance(meta, Mapping)
        and all(isinstance(meta.get(key), int) for key in ("epoch", "iter"))
        and {"optimizer", "param_schedulers"} <= set(checkpoint)
    ):
        raise ValueError(f"{str(path)!r} has weights alone, no epoch and optimizer to resume from")
    return checkpoint


def check_finite(state: Mapping[str, Tensor], epoch: int) -> None:
    """Raise `FloatingPointError` where weights are not finite: earlier checkpoints stay as they are."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise FloatingPointError(f"{name} is not finite after epoch {epoch}: no checkpoint is written of it")
