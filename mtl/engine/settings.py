"""A run's settings, and how two runs' settings differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.config import ConfigDict

from mtl.utils.text import short

_OF_THE_RUN = ("label", "randomness", "stored_results", "work_dir", "visualizer", "custom_imports")
"""Top-level keys in which the runs of one method may differ: its name, the seed, and what is printed or drawn."""

TRAINING = ("encoder", "decoder", "tasks", "model", "optim_wrapper", "param_scheduler", "train_cfg", "train_dataloader")
"""Top-level keys that decide what a training becomes, besides its method."""

_NOT_RESUMED = (
    *_OF_THE_RUN,
    *("data_root", "load_from", "resume", "launcher", "env_cfg", "log_level", "log_processor", "test_dataloader"),
    *("test_cfg", "test_evaluator", "default_hooks", "method", "single_task"),
)
"""Top-level keys that may differ at a resume: they decide neither the weights nor the scores. The method is compared
with its defaults (`mtl.engine.adapter_file.check_build`), of the single-task scores what they are, not their file."""

_DECIDING_HOOKS = ("iteration_seed", "sampler_seed", "param_scheduler")
"""Names in ``default_hooks`` without which a training is another one."""

_HARMLESS = ("root", "num_workers", "persistent_workers", "pin_memory", "prefetch_factor", "val_interval", "val_begin")
"""Last parts of keys below them that change nothing of it: where the data are, how they are loaded, validations."""

_HARMLESS_KEYS = ("val_dataloader.batch_size",)


def plain(value: Any) -> Any:
    """JSON values of a config: classes by their import path."""
    if isinstance(value, (ConfigDict, Mapping)):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return f"{value.__module__}.{value.__qualname__}"


def key_of(value: Any) -> str:
    """Equal for equal settings."""
    return json.dumps(value, sort_keys=True, default=str)


def recipe(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two runs the same but for the seed."""
    return {key: value for key, value in settings.items() if key not in _OF_THE_RUN}


def differences(many: Sequence[Mapping[str, Any]], without: Iterable[str] = ()) -> dict[str, list[str]]:
    """The keys (``train_cfg.max_epochs``) whose values are not the same in all, with each one's value as text."""
    left_out = set(without)
    kept = [{key: value for key, value in recipe(one).items() if key not in left_out} for one in many]
    flat = [_flat(one) if one else {} for one in kept]
    keys = dict.fromkeys(key for one in flat for key in one)
    values = {key: [one.get(key, "unset") for one in flat] for key in keys}
    return {key: shown for key, shown in values.items() if len(set(shown)) > 1}


def first_difference(
    before: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str] | None = None
) -> tuple[str, str, str] | None:
    """The first key that changes a run, and its two values as text; or None.

    Args:
        before: a run's settings.
        now: another's.
        names: the top-level keys that are compared; None for all that a resumed run must share.
    """
    own = [
        _shared(one) if names is None else {name: one[name] for name in names if name in one} for one in (before, now)
    ]
    for key, values in differences(own).items():
        if key.rpartition(".")[2] not in _HARMLESS and key not in _HARMLESS_KEYS:
            old, new = map(value_text, values)
            return key, old, new
    return None


def _shared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a resumed run must share."""
    hooks = settings.get("default_hooks") or {}
    deciding = {f"default_hooks.{name}": hooks[name] for name in _DECIDING_HOOKS if name in hooks}
    return {**{key: value for key, value in settings.items() if key not in _NOT_RESUMED}, **deciding}


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        parts = [_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        parts = [_flat(item, f"{prefix}[{i}]") for i, item in enumerate(value)]
    else:
        return {prefix: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}
    return {key: text for part in parts for key, text in part.items()}


def value_text(value: Any) -> str:
    """A setting's value for a message or a table, of at most 40 characters."""
    return short(str(value), 40)
