"""A model from its checkpoint alone: adapter files, full checkpoints and merged models hold their configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import Registry

from mtl.engine import adapter_file, merged
from mtl.engine.adapter_file import load_adapter, load_matching, read_meta
from mtl.engine.checkpoints import read_checkpoint
from mtl.engine.plugins import register_all
from mtl.models.multitask import MultiTaskModel
from mtl.registry import DECODERS, ENCODERS, METHODS, MODELS, TASKS, choices


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
        meta = read_meta(path, [adapter_file.FORMAT, merged.FORMAT])
        config, whole = meta["config"], meta["format"] == merged.FORMAT
    else:
        state = read_checkpoint(path)
        config, whole = state.get("build"), True
    check_parts(config, path)
    if whole and weights is not None:
        raise ValueError(f"{str(path)!r} holds its base weights; leave out the file of other ones")
    if not whole:
        model = MultiTaskModel(**{**config, "encoder": _with_weights(config["encoder"], weights, path)})
        load_adapter(model, path, config)
    elif path.suffix == ".safetensors":
        model = merged.load_merged(path)
    else:
        model = MultiTaskModel(**{**config, "encoder": {**config["encoder"], "weights": False}})
        load_matching(model, state["state_dict"], model.state_dict(), str(path))
    return model.eval(), config


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


def check_parts(config: Any, path: Path) -> None:
    """Raise `ValueError` unless every type is of a registered part: MMEngine imports and calls any other name."""
    if not isinstance(config, Mapping) or not {"encoder", "method", "tasks"} <= set(config) <= {
        *("encoder", "method", "tasks", "decoder")
    }:
        raise ValueError(f"{str(path)!r} does not say what model it is of (no configs of encoder, method and tasks)")
    parts = [(ENCODERS, config["encoder"]), (METHODS, config["method"])]
    parts += [(TASKS, task) for task in config["tasks"].values()]
    parts += [(DECODERS, config["decoder"])] if config.get("decoder") else []
    for registry, part in parts:
        if not isinstance(part, Mapping) or not _known(part.get("type"), registry):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise ValueError(
                f"{str(path)!r} needs the {registry.name} {kind!r}, which no package or custom import registers "
                f"(--custom-imports MODULE names a module of your own); {choices(registry.module_dict, str(kind))}"
            )
        for kind in _types(list(part.values())):
            if not any(_known(kind, other) for other in (ENCODERS, METHODS, DECODERS, TASKS, MODELS)):
                raise ValueError(f"{str(path)!r} needs {kind!r}, which no package or custom import registers")


def _known(kind: Any, registry: Registry) -> bool:
    """Whether ``kind`` names a registered class, or is its import path."""
    parent = registry.parent.module_dict if registry.parent is not None else {}
    known = {**parent, **registry.module_dict}
    return isinstance(kind, str) and (
        kind in known or kind in {f"{c.__module__}.{c.__qualname__}" for c in known.values()}
    )


def _types(value: Any) -> Iterator[Any]:
    """Every "type" inside ``value``."""
    if isinstance(value, Mapping):
        if "type" in value:
            yield value["type"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _types(item)
