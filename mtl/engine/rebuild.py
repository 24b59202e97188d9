"""A model from its checkpoint alone: adapter files, full checkpoints and merged models hold their configs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl.engine import adapter_file, merged
from mtl.engine.adapter_file import check_base, check_matching, load_matching, read_meta, read_state, trained_tensors
from mtl.engine.checkpoints import read_checkpoint
from mtl.engine.merged import build_merged, fit_biases
from mtl.engine.plugins import register_all
from mtl.engine.schema import check_parts
from mtl.models.multitask import MultiTaskModel

MOST_WEIGHTS = 10_000_000_000
"""Of a model, frozen ones too."""


def rebuild(
    checkpoint: str | Path,
    weights: str | Path | bool | None = None,
    custom_imports: Mapping[str, Any] | None = None,
) -> tuple[MultiTaskModel, dict[str, Any]]:
    """The model in eval mode and the configs that it was built from; nothing in the file is run.

    Args:
        checkpoint: an adapter file, a merged model (both ``.safetensors``) or a full checkpoint (``.pth``).
        weights: for an adapter file, where the encoder's base weights are instead of where its config says.
        custom_imports: as in a config, modules that register the parts that the checkpoint needs.

    Raises:
        ValueError: the file is missing, broken, of other base weights or of unknown parts.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise ValueError(f"no checkpoint {str(path)!r}")
    register_all(custom_imports)
    if path.suffix == ".safetensors":
        meta, state = read_meta(path, [adapter_file.FORMAT, merged.FORMAT]), read_state(path)
        config, paths, whole = meta["config"], meta.get("paths"), meta["format"] == merged.FORMAT
    else:
        content = read_checkpoint(path)
        config, paths, whole, state = content["build"], None, True, content["state_dict"]
    try:
        check_parts(config)
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error
    if whole and weights is not None:
        raise ValueError(f"{str(path)!r} holds its base weights; leave out the file of other ones")
    random = {**config["encoder"], "weights": False}
    encoder = random if whole else _with_weights(config["encoder"], weights, path)
    _check_form({**config, "encoder": random}, paths, whole, state, path)
    model = _build({**config, "encoder": encoder}, paths, state, path)
    if not whole:
        check_base(model, meta, str(path))
    load_matching(model, state, model.state_dict() if whole else trained_tensors(model), str(path))
    return model.eval(), config


def _check_form(
    config: Mapping[str, Any], paths: list[list[str]] | None, whole: bool, state: Mapping[str, Tensor], path: Path
) -> None:
    """Raise `ValueError` unless the model has the tensors of ``state``, before memory is taken for them."""
    try:
        with torch.device("meta"):
            model = _build(config, paths, state, path)
    except ValueError as error:
        if "meta" in str(error.__cause__):  # a part of a user's own reads weights while it is built
            return
        raise
    own = model.state_dict()
    if (count := sum(value.numel() for value in own.values())) > MOST_WEIGHTS:
        raise ValueError(f"{str(path)!r} is of a model with {count:,} weights; the limit is {MOST_WEIGHTS:,}")
    check_matching(state, own if whole else trained_tensors(model), str(path))


def _build(
    config: Mapping[str, Any], paths: list[list[str]] | None, state: Mapping[str, Tensor], path: Path
) -> MultiTaskModel:
    """The model, or the merged one of ``paths``, with random weights outside of the encoder."""
    try:
        if paths is None:
            return MultiTaskModel(**config)
        model = build_merged(config, paths)
        fit_biases(model, state)
        return model
    except Exception as error:  # whatever a part, timm or torch meets with values that its annotations allow
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{str(path)!r} says no model that can be built: {text}") from error


def _with_weights(encoder: Mapping[str, Any], weights: str | Path | bool | None, path: Path) -> dict[str, Any]:
    """The encoder's config with weights that exist."""
    if weights is not None:
        return {**encoder, "weights": weights if isinstance(weights, bool) else str(weights)}
    recorded = encoder.get("weights")
    remedy = "name the file of its base weights (weights=FILE, --weights FILE)"
    if isinstance(recorded, str) and not recorded.startswith("mtl:") and not Path(recorded).expanduser().is_file():
        raise ValueError(f"{str(path)!r} was trained on the weights {recorded!r}, which are not here; {remedy}")
    if not recorded and "weights" in encoder:
        raise ValueError(f"{str(path)!r} was trained on random base weights; take the .pth beside it, or {remedy}")
    return dict(encoder)
