"""A small model that looks trained, in every form that a checkpoint has, without a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny import write_config

from mtl.engine.adapter_file import save_adapter
from mtl.engine.checkpoints import seal_checkpoint
from mtl.engine.config import read_config
from mtl.engine.settings import plain
from mtl.models.multitask import MultiTaskModel
from mtl.registry import ENCODERS
from mtl.utils.plain import content_digest


def write_checkpoints(folder: Path, extra: str = "") -> MultiTaskModel:
    """The model of `tiny` with other trained weights, written as ``model.safetensors`` and ``model.pth``."""
    torch.manual_seed(0)
    cfg = read_config(write_config(folder, extra)).to_dict()
    save_file(ENCODERS.build(cfg["encoder"]).model.state_dict(), folder / "base.safetensors")
    cfg["encoder"]["weights"] = str(folder / "base.safetensors")
    build = plain({key: cfg[key] for key in ("encoder", "method", "decoder", "tasks")})
    model = MultiTaskModel(**build).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    save_adapter(model, folder / "model.safetensors", build)
    checkpoint = {"state_dict": model.state_dict(), "build": build, "meta": {"epoch": 2, "iter": 4}}
    seal_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "model.pth")
    return model


def resealed(path: Path, out: Path, change: Callable[[dict], None]) -> Path:
    """A full checkpoint after ``change``, with the digest that fits it."""
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    checkpoint["digest"] = content_digest({key: value for key, value in checkpoint.items() if key != "digest"})
    torch.save(checkpoint, out)
    return out
