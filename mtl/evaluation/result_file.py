"""Reading ``result.json`` and ``test.json``; `mtl.engine.results` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl.utils.plain import check_keys, is_number, read_json

REQUIRED = (
    *("method", "encoder", "protocol", "parameters", "settings"),
    *("metrics", "main", "main_metric", "unit", "higher_is_better"),
)
OPTIONAL = ("config", "checkpoint", "label", "delta_m", "single_task", "cost", "seed", "iter", "best")


def read_result(path: Path) -> dict[str, Any]:
    """A result of ``tools/train.py`` or ``tools/test.py``; `ValueError` says what is wrong, without the file's name."""
    result = read_json(path)
    _check(result)
    return result


def read_main(path: Path) -> Mapping[str, Any]:
    """``main`` of a result, or of any JSON of the form ``{"main": {task: score}}``; `ValueError` likewise."""
    data = read_json(path)
    main = data.get("main") if isinstance(data, Mapping) else None
    if not isinstance(main, Mapping):
        raise ValueError('no single-task scores; tools/test.py writes them as {"main": {task: score}}')
    return main


def _check(result: Any) -> None:
    """Raise `ValueError` unless the tables can be made from it."""
    if not isinstance(result, dict):
        raise ValueError("not a result: no JSON object")
    kinds: dict[str, type] = {"method": str, "encoder": str, "protocol": str}
    for key in REQUIRED:
        if not isinstance(result.get(key), kinds.get(key, dict)) or not result[key]:
            raise ValueError(f"not a result of tools/train.py or tools/test.py: no {key!r}")
    check_keys(result, "the result", REQUIRED, OPTIONAL)
    for task, score in result["main"].items():
        if not _number_or_none(score):
            raise ValueError(f"not a result: the score of {task!r} is {score!r}")
        if task not in result["metrics"]:
            raise ValueError(f"not a result: no metrics of {task!r}")
        if not isinstance(result["higher_is_better"].get(task), bool):
            raise ValueError(f"not a result: no direction of {task!r} in 'higher_is_better'")
        if not all(isinstance(result[key].get(task), str) for key in ("main_metric", "unit")):
            raise ValueError(f"not a result: no name or unit of the metric of {task!r}")
    for task, metrics in result["metrics"].items():
        if not isinstance(metrics, dict) or not all(map(_number_or_none, metrics.values())):
            raise ValueError(f"not a result: no metrics of {task!r}")
    for key in ("encoder", "all", "base"):
        count = result["parameters"].get(key)
        if not isinstance(count, int) or not is_number(count) or count < (key == "base"):
            raise ValueError(f"not a result: parameters.{key} is {count!r}")
    if not _number_or_none(result.get("delta_m")):
        raise ValueError(f"not a result: delta_m is {result['delta_m']!r}")
    for key in ("label", "config", "checkpoint"):
        if not isinstance(result.get(key), str | None):
            raise ValueError(f"not a result: {key} is {result[key]!r}")
    if not isinstance(result.get("seed"), int | None):
        raise ValueError(f"not a result: seed is {result['seed']!r}")
    if not isinstance(result.get("iter"), int | None):
        raise ValueError(f"not a result: iter is {result['iter']!r}")
    for key in ("cost", "single_task", "best"):
        if not isinstance(result.get(key), dict | None):
            raise ValueError(f"not a result: {key} is {result[key]!r}")
    cost = result.get("cost") or {}
    if not all(isinstance(cost.get(key), str | None) for key in ("device", "memory")):
        raise ValueError("not a result: cost.device and cost.memory are text")
    if not isinstance(cost.get("processes", 1), int):
        raise ValueError(f"not a result: cost.processes is {cost['processes']!r}")
    single = (result.get("single_task") or {}).get("scores") or {}
    parts = {"single_task.scores": single, "cost.train": cost.get("train") or {}, "cost.test": cost.get("test") or {}}
    for key, numbers in parts.items():
        if not isinstance(numbers, dict) or not all(map(_number_or_none, numbers.values())):
            raise ValueError(f"not a result: {key} is {numbers!r}")


def _number_or_none(value: Any) -> bool:
    return value is None or is_number(value)
