"""Rows and tables: runs that may be compared, seeds put together, cells as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from mtl.engine.settings import differences, key_of, recipe, value_text
from mtl.methods import baselines
from mtl.registry import METHODS
from mtl.report.remarks import MISSING, notes_on, warnings_on
from mtl.report.runs import Run, delta, lookup, with_delta


@dataclass
class Cell:
    """One cell: its text, the number it is sorted by, whether it is the best of its group."""

    text: str
    value: float | None = None
    best: bool = False


@dataclass
class Row:
    """The runs of one recipe over seeds.

    Attributes:
        label: the method.
        detail: what tells it from another row of the same method.
        baseline: whether the method trains the whole encoder or nothing of it.
    """

    runs: list[Run]
    label: str
    detail: str
    baseline: bool
    cells: list[Cell]

    @property
    def plot_label(self) -> str:
        """The label for a plot."""
        return f"{self.label} {self.detail.partition(', ')[0]}".strip()


@dataclass
class Table:
    """Rows that may be compared: one encoder, protocol, data set and list of tasks."""

    caption: str
    heads: list[str]
    rows: list[Row]
    notes: list[str]
    warnings: list[str]


def make_tables(runs: Sequence[Run]) -> list[Table]:
    return [_table(together) for together in _together(runs, _comparable)]


def over_runs(runs: Sequence[Run], get: Callable[[Run], float | None]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (of a sample); None where a run has no value, or where there is but one."""
    values = [value for value in map(get, runs) if value is not None]
    if len(values) < len(runs):
        return None, None
    return mean(values), stdev(values) if len(values) > 1 else None


def train_cost(run: Run, key: str) -> float | None:
    return lookup(run.result, "cost", "train", key)


def _comparable(run: Run) -> str:
    encoder, base = run.result["encoder"], run.result["parameters"]["base"]
    tasks = sorted(run.result["main"])
    return key_of([encoder, base, run.settings.get("encoder"), run.result["protocol"], tasks, data_set(run)])


def data_set(run: Run) -> dict[str, Any]:
    """The settings of the data that the scores are of."""
    own = lookup(run.settings, "test_dataloader") if run.is_test else None
    found = lookup({"loader": own or run.settings.get("val_dataloader")}, "loader", "dataset")
    root = {"data_root": run.settings["data_root"]} if run.settings.get("data_root") else {}
    return {**found, **root} if isinstance(found, dict) else root


def _same_recipe(run: Run) -> str:
    return key_of([run.label, run.result["method"], run.is_test, run.result["parameters"], recipe(run.settings)])


def _together(runs: Sequence[Run], key: Callable[[Run], str]) -> list[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _table(runs: list[Run]) -> Table:
    runs, filled = with_delta(runs)
    first = runs[0].result
    groups = _together(runs, _same_recipe)
    labels = []
    for group in groups:
        label = group[0].label
        alike = [other[0] for other in groups if other[0].label == label]
        own = differences([run.settings for run in alike], ("single_task",))
        place = next(i for i, run in enumerate(alike) if run is group[0])
        shown = [f"{_last(key, own)}={value_text(values[place])}" for key, values in own.items()]
        if len({run.is_test for run in alike}) > 1:
            shown.insert(0, "tested" if group[0].is_test else "last validation")
        labels.append((label, ", ".join(shown[:4]) + (", …" if len(shown) > 4 else "")))
    whole = {name for name, kind in METHODS.module_dict.items() if kind.__module__ == baselines.__name__}
    tasks = list(first["main"])
    rows = [
        Row(group, label, detail, group[0].result["method"] in whole, _cells(group, tasks))
        for group, (label, detail) in zip(groups, labels, strict=True)
    ]
    rows.sort(key=lambda row: (not row.baseline, row.label))
    _mark_best(rows, tasks, first["higher_is_better"])
    return Table(
        _caption(runs[0]),
        _heads(runs[0], tasks),
        rows,
        notes_on(runs, filled),
        warnings_on([(row.label, row.runs) for row in rows]),
    )


def _last(key: str, keys: Iterable[str]) -> str:
    """The last part of a setting's name, or all of it where another of ``keys`` ends the same."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in keys) == 1 else key


def _heads(run: Run, tasks: Sequence[str]) -> list[str]:
    heads = ["runs", "in the encoder, M (share)", "in all, M"]
    for task in tasks:
        arrow = "↑" if run.result["higher_is_better"][task] else "↓"
        heads.append(f"{task} {run.metric(task)} {arrow}" + (f" ({run.unit(task)})" if run.unit(task) else ""))
    return [*heads, "Δm ↑ (%)", "training", "step (ms)", "memory (GiB)", "image (ms)"]


def _caption(run: Run) -> str:
    size, weights = (lookup(run.settings, "encoder", key) for key in ("size", "weights"))
    parts = [f"{run.result['encoder']}, {run.result['parameters']['base'] / 1e6:.2f} M parameters"]
    if isinstance(size, list):
        parts.append("input " + " x ".join(map(str, size)))
    if weights:
        parts.append("weights " + ("of timm's hub" if weights is True else str(weights)))
    data = {key: value for key, value in data_set(run).items() if key != "type"}
    parts.append(f"scores at {run.result['protocol']} resolution")
    name = data_set(run).get("type")
    if name:
        about = ", ".join(f"{key} {value_text(value)}" for key, value in data.items() if isinstance(value, str | int))
        parts.append(f"data {name}" + (f" ({about})" if about else ""))
    return "; ".join(parts)


def _cells(runs: list[Run], tasks: Sequence[str]) -> list[Cell]:
    counts = runs[0].result["parameters"]
    encoder, base = counts["encoder"], counts["base"]
    cells = [
        Cell(str(len(runs)), len(runs)),
        Cell(f"{encoder / 1e6:.3f} ({100 * encoder / base:.1f} %)", encoder),
        Cell(f"{counts['all'] / 1e6:.3f}", counts["all"]),
    ]
    for task in tasks:
        cells.append(_spread(runs, lambda run, task=task: run.result["main"][task], "{:.2f}"))  # type: ignore[misc]
    cells.append(_spread(runs, delta, "{:+.2f}"))
    cells.append(_only_mean(runs, lambda run: train_cost(run, "seconds"), duration))
    cells.append(_only_mean(runs, lambda run: train_cost(run, "step_seconds"), milliseconds))
    cells.append(_only_mean(runs, _memory, lambda value: f"{value / 2**30:.2f}"))
    cells.append(_only_mean(runs, lambda run: lookup(run.result, "cost", "test", "image_seconds"), milliseconds))
    return cells


def _spread(runs: Sequence[Run], get: Callable[[Run], float | None], form: str) -> Cell:
    value, deviation = over_runs(runs, get)
    if value is None:
        return Cell(MISSING)
    return Cell(form.format(round(value, 2) + 0.0) + ("" if deviation is None else f" ± {deviation:.2f}"), value)


def _only_mean(runs: Sequence[Run], get: Callable[[Run], float | None], show: Callable[[float], str]) -> Cell:
    value, _ = over_runs(runs, get)
    return Cell(MISSING) if value is None else Cell(show(value), value)


def _memory(run: Run) -> float | None:
    trained = train_cost(run, "peak_memory")
    return trained if trained is not None else lookup(run.result, "cost", "test", "peak_memory")


def duration(seconds: float) -> str:
    """``1 h 02 min``, ``3 min 20 s`` or ``8 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{seconds:.0f} s"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f}" if seconds >= 0.01 else f"{1000 * seconds:.2f}"


def _mark_best(rows: list[Row], tasks: Sequence[str], higher: Mapping[str, bool]) -> None:
    """The best scores and Δm of the baselines, and of the other methods; as printed, so that ties are all marked."""
    directions = [*(higher[task] for task in tasks), True]
    for baseline in (True, False):
        group = [row for row in rows if row.baseline is baseline]
        if len(group) < 2:
            continue
        for column, up in enumerate(directions, start=3):
            known = [round(v, 2) for row in group if (v := row.cells[column].value) is not None]
            best = (max if up else min)(known) if len(known) > 1 else None
            for row in group:
                value = row.cells[column].value
                row.cells[column].best = value is not None and best is not None and round(value, 2) == best


def as_markdown(table: Table) -> str:
    """The table as GitHub's Markdown, with its caption and notes; columns without a number are left out."""
    kept = [i for i, _ in enumerate(table.heads) if any(row.cells[i].text != MISSING for row in table.rows)]
    lines = [table.caption, "", "| method | " + " | ".join(table.heads[i] for i in kept) + " |"]
    lines.append("|---" * (len(kept) + 1) + "|")
    for row in table.rows:
        cells = [f"**{row.cells[i].text}**" if row.cells[i].best else row.cells[i].text for i in kept]
        lines.append(f"| {row.label}{f' ({row.detail})' if row.detail else ''} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- {note}" for note in [*table.warnings, *table.notes])])
