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
from mtl.engine.schema import TRAINING, check_checkpoint
from mtl.models.multitask import MultiTaskModel
from mtl.utils.plain import check_plain, content_digest


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
    check_build(checkpoint["build"], build, str(path))
    load_matching(model, checkpoint["state_dict"], model.state_dict(), str(path))


def seal_checkpoint(checkpoint: dict[str, Any]) -> None:
    """Add the digest of all that a checkpoint holds, by which `read_checkpoint` finds out a damaged file.

    `ValueError` where a hook added what could not be read again.
    """
    checkpoint.pop("digest", None)
    check_plain(checkpoint, "the checkpoint")
    checkpoint["digest"] = content_digest(checkpoint)


def read_checkpoint(path: Path, resume: bool = False) -> dict[str, Any]:
    """A full checkpoint, read without running code from it; ``resume`` asks for what a training goes on from."""
    if path.suffix == ".safetensors":
        raise ValueError(
            f"{str(path)!r} is an adapter file, without the optimizer's state; resume from the .pth beside it"
        )
    checkpoint = read_tensors(path)
    try:
        check_checkpoint(checkpoint)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not a checkpoint of this framework: {error}") from error
    content = {key: value for key, value in checkpoint.items() if key != "digest"}
    if checkpoint["digest"] != content_digest(content):
        raise ValueError(f"{str(path)!r} is damaged: its content is not what it was written with")
    if resume and (missing := [key for key in TRAINING if key not in checkpoint]):
        raise ValueError(f"{str(path)!r} has no {missing[0]!r} to resume from")
    return checkpoint


def check_finite(state: Mapping[str, Tensor], epoch: int) -> None:
    """Raise `FloatingPointError` where weights are not finite: earlier checkpoints stay as they are."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise FloatingPointError(f"{name} is not finite after epoch {epoch}: no checkpoint is written of it")
