"""The merged encoders as state dicts of plain timm models, one per task: no `mtl` is needed to load them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor

from mtl.encoders.pyramid import to_pyramid
from mtl.engine.files import replacing
from mtl.models.multitask import MultiTaskModel


def save_timm(model: MultiTaskModel, folder: Path) -> list[str]:
    """Write ``<task>.safetensors``, each task's merged encoder as the state dict of a plain timm model.

    Returns:
        What was written and how it is loaded, line by line.

    Raises:
        ValueError: merging is not exact, or timm's own model has no place for what it gives.
    """
    encoder = model.encoder
    models = {task: model.method.merge(encoder, model.task_names.index(task)).eval() for task in model.task_names}
    images = torch.randn(2, 3, *encoder.size, generator=torch.Generator().manual_seed(0))
    lines, arguments, files = [], {**encoder.arguments, "num_classes": 0}, {}
    for task, merged_one in models.items():
        state = {name: value.detach().cpu().clone().contiguous() for name, value in merged_one.state_dict().items()}
        plain = timm.create_model(encoder.name, **arguments).eval()
        report = plain.load_state_dict(state, strict=False)
        lacking = [name for name in report.missing_keys if not name.startswith(("norm.", "head.", "fc_norm."))]
        if report.unexpected_keys or lacking:
            name = (report.unexpected_keys or lacking)[0]
            raise ValueError(
                f"timm's {encoder.name} has no place for {name!r} of {task}; export a merged model instead"
            )
        worst = _difference_of_maps(model, task, plain, images)
        meta = {"name": encoder.name, "arguments": json.dumps(arguments), "task": task, "base": encoder.fingerprint}
        files[folder / f"{task}.safetensors"] = state, meta
        lines.append(f"{folder / task}.safetensors: largest difference of timm's features to the model's {worst:.1e}")
    for path, (state, meta) in files.items():  # none unless all can be had
        with replacing(path) as part:
            save_file(state, part, meta)
    given = "".join(f", {key}={value!r}" for key, value in arguments.items())
    lines += [
        f"  timm.create_model({encoder.name!r}{given})"
        ".load_state_dict(safetensors.torch.load_file(FILE), strict=False)",
        "  without the final norm, which is no part of a trained encoder; features: forward_intermediates(images, "
        f"indices={encoder.taps}, intermediates_only=True)",
    ]
    if encoder.name.startswith("pvt_") and not encoder.name.startswith("pvt_v2"):
        lines.append("  timm knows this model after: import mtl.encoders.pvt")
    if any(isinstance(module, SwinTransformerBlock) for module in plain.modules()):
        lines.append("  the same where its windows divide the maps of every stage; elsewhere timm shifts, then pads")
    return lines


@torch.no_grad()
def _difference_of_maps(model: MultiTaskModel, task: str, plain: Any, images: Tensor) -> float:
    """The largest difference of a plain timm model's four maps to those of the adapted encoder."""
    encoder = model.encoder
    theirs = plain.forward_intermediates(images, indices=encoder.taps, output_fmt="NCHW", intermediates_only=True)
    if encoder.plain:
        theirs = to_pyramid(theirs, encoder.size)
    model.method.context.generated = model.method.generate()
    pairs = zip(model.features(images, [task]), theirs, strict=True)
    return max(float((ours - other).abs().max()) for ours, other in pairs)
