"""A run's settings, and how two runs' settings differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_OF_THE_RUN = ("label", "randomness", "stored_results", "work_dir", "visualizer", "custom_imports")
"""Top-level keys in which the runs of one method may differ: its name, the seed, and what is printed or drawn."""

TRAINING = ("encoder", "decoder", "tasks", "model", "optim_wrapper", "param_scheduler", "train_cfg", "train_dataloader")
"""Top-level keys that decide what a training becomes, besides its method."""

_HARMLESS = ("root", "num_workers", "persistent_workers", "pin_memory", "prefetch_factor", "val_interval", "val_begin")
"""Last parts of keys below them that change nothing of it: where the data are, how they are loaded, validations."""


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
    before: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str] = TRAINING
) -> tuple[str, str, str] | None:
    """The first key below the top-level ``names`` that changes a run, and its two values as text; or None."""
    own = [{name: one[name] for name in names if name in one} for one in (before, now)]
    for key, values in differences(own).items():
        if key.rpartition(".")[2] not in _HARMLESS:
            old, new = map(short, values)
            return key, old, new
    return None


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        parts = [_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        parts = [_flat(item, f"{prefix}[{i}]") for i, item in enumerate(value)]
    else:
        return {prefix: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}
    return {key: text for part in parts for key, text in part.items()}


def short(value: Any) -> str:
    """As text of at most 40 characters."""
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"
