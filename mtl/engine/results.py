"""A run's result: one dictionary that becomes a table and a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl.engine.checkpoints import model_of
from mtl.engine.cost import Cost
from mtl.engine.files import replacing
from mtl.engine.hooks import DeltaM, hook_of
from mtl.engine.parameters import count_parameters
from mtl.engine.runner import MultiTaskRunner
from mtl.models.multitask import MultiTaskModel
from mtl.utils.text import some_of


def collect(model: MultiTaskModel, metrics: Mapping[str, float], protocol: str, **about: Any) -> dict[str, Any]:
    """The result of a test: metrics per task, the main one of each, Δm and parameters; ``about`` is added as it is."""
    counts = count_parameters(model)
    per_task = {
        name: {key.partition("/")[2]: float(v) for key, v in metrics.items() if key.startswith(f"{name}/")}
        for name in model.tasks
    }
    return {
        **about,
        "method": type(model.method).__name__,
        "encoder": model.encoder.name,
        "protocol": protocol,
        "metrics": per_task,
        "main_metric": {name: task.metric for name, task in model.tasks.items()},
        "unit": {name: task.unit for name, task in model.tasks.items()},
        "main": {name: per_task[name].get(task.metric, math.nan) for name, task in model.tasks.items()},
        "higher_is_better": {name: task.higher_is_better for name, task in model.tasks.items()},
        "delta_m": metrics.get("delta_m"),
        "parameters": {
            "encoder": counts.encoder,
            "decoders": counts.decoders,
            "all": counts.all,
            "base": counts.base,
        },
    }


def collect_run(runner: MultiTaskRunner, metrics: Mapping[str, float], **about: Any) -> dict[str, Any]:
    """`collect` with what the runner knows: seed, settings, the single-task scores behind Δm, and what it cost."""
    cost, relative = hook_of(runner, Cost), hook_of(runner, DeltaM)
    model = model_of(runner)
    single: dict[str, Any] | None = None
    if relative and relative.single_task:
        source, scores = runner.cfg.get("single_task"), relative.single_task
        single = {
            "source": source if isinstance(source, str) else None,
            "scores": {task: scores[task] for task in model.tasks},
        }
    return {
        **collect(model, metrics, runner.cfg.get("protocol", "original"), **about),
        "label": runner.cfg.get("label"),
        "single_task": single,
        "cost": cost.summary(runner) if cost else None,
        "seed": runner.seed,
        "settings": runner.cfg["source"],
    }


def table(result: Mapping[str, Any], most: int = 6) -> str:
    """The result as text: a row per task with its ``most`` first metrics, then Δm and parameters."""
    lines = [f"{result['method']} on {result['encoder']}, metrics at {result['protocol']} resolution", ""]
    width = max(len(name) for name in result["metrics"])
    for name, metrics in result["metrics"].items():
        shown = [(key, value) for key, value in metrics.items() if "/" not in key][:most]
        cells = [f"{key} {value:.{3 if abs(value) < 1 else 2}f}" for key, value in shown]
        if classes := mean_over(metrics):
            cells[0] += f" ({classes})"
        scores = "no score: nothing was labelled" if math.isnan(result["main"][name]) else "  ".join(cells)
        lines.append(f"  {name:<{width}}  {scores}")
    counts = result["parameters"]
    delta = result.get("delta_m")
    lines += [
        "",
        f"  Δm  {'not computed (no single-task scores)' if delta is None else f'{delta:+.2f} %'}",
        f"  trained parameters  encoder {counts['encoder'] / 1e6:.3f} M"
        f" ({100 * counts['encoder'] / counts['base']:.2f} % of {counts['base'] / 1e6:.2f} M)"
        f"  all {counts['all'] / 1e6:.3f} M",
    ]
    return "\n".join(lines)


def mean_over(metrics: Mapping[str, float | None]) -> str:
    """``of 18 of 21 classes; absent: boat, bus, sofa`` of a task's metrics; empty where each class has its own.

    Absent is a class that no label and no prediction of the set has: its ``IoU/<class>`` is NaN, null in a file.
    """
    classes = {key.partition("/")[2]: value for key, value in metrics.items() if "/" in key}
    absent = [name for name, value in classes.items() if value is None or math.isnan(value)]
    if not absent:
        return ""
    return f"of {len(classes) - len(absent)} of {len(classes)} classes; absent: {some_of(absent)}"


def write_json(result: Mapping[str, Any], path: Path) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(_finite(result), indent=1) + "\n")


def _finite(value: Any) -> Any:
    """NaN is not JSON: a metric without data is null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
