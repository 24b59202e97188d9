"""A training from its runner to the closing summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from mtl.engine.build import build_runner, work_dir_of
from mtl.engine.checkpoint_hook import AtomicCheckpoint
from mtl.engine.hooks import hook_of
from mtl.engine.results import collect_run, table, write_json
from mtl.engine.run_folder import BEST, RESULT, claimed, latest_checkpoint, numbered
from mtl.engine.runner import MultiTaskRunner
from mtl.evaluation.delta_m import REFERENCE
from mtl.registry import choices


def train_config(
    cfg: Config, work_dir: str | Path | None = None, resume: bool | str = False, launcher: str | None = None
) -> dict[str, Any]:
    """Build a config's runner and `train` it; the arguments are `build_runner`'s.

    A start that fails leaves nothing behind, and no two trainings share a folder.
    """
    folder = work_dir_of(cfg, work_dir)
    started: list[MultiTaskRunner] = []
    with claimed(folder, began=lambda: any(runner.has_stepped for runner in started)):
        started.append(build_runner(cfg, folder, resume, launcher))
        return train(started[0])


def train(runner: MultiTaskRunner) -> dict[str, Any]:
    """Run the training; its last validation becomes ``result.json`` and the table that is printed."""
    stored = stored_rows(runner.cfg.get("stored_results"))  # a mistake in it shows before the training
    folder = Path(runner.work_dir)
    try:
        runner.train()
    except KeyboardInterrupt as error:
        latest = latest_checkpoint(folder)
        raise KeyboardInterrupt(
            f"--resume goes on from {latest}" if latest else "before the first checkpoint; nothing can be resumed"
        ) from error
    if not runner.last_metrics and not (folder / RESULT).is_file() and runner.val_loop is not None:
        runner.val_loop.run()
    if not runner.last_metrics:
        why = f"{folder} has the weights" if runner.has_stepped else "is the training already complete?"
        print(f"nothing was validated, so that there is no new result ({why})")
        return {}
    hook = hook_of(runner, AtomicCheckpoint)
    best = hook.found if hook else None
    result = collect_run(runner, runner.last_metrics, config=str(runner.cfg.filename), iter=runner.iter, best=best)
    if is_main_process():
        write_json(result, folder / RESULT)
        print("\n" + table(result))
        print(summary(folder, stored, result))
    return result


def stored_rows(name: str | None) -> list[dict[str, Any]]:
    """Results that ship with the package under ``name``, one per method."""
    if name is None:
        return []
    path = REFERENCE / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"no stored results {name!r} ship with the package; {choices(_with_rows(), name)}")
    rows = json.loads(path.read_text("utf-8")).get("rows")
    if rows is None:
        raise ValueError(f"{name!r} has scores but no results of methods; {choices(_with_rows(), name)}")
    return rows


def _with_rows() -> list[str]:
    return [path.stem for path in REFERENCE.glob("*.json") if "rows" in json.loads(path.read_text("utf-8"))]


def summary(folder: Path, stored: list[dict[str, Any]], result: dict[str, Any]) -> str:
    """Where everything is, and stored results of other methods beside this one's."""
    lines: list[str] = []
    if stored:
        lines += ["", comparison_table(stored, result)]
    lines.append("")
    files = [*numbered(folder, suffix=".safetensors"), *folder.glob(f"{BEST}.safetensors")]
    adapter = files[-1] if files else None
    if adapter is not None:
        lines.append(f"  adapter file  {adapter} ({adapter.stat().st_size / 1e6:.1f} MB{_which(adapter, result)})")
    pictures = sorted((folder / "pictures").glob("*"), key=lambda p: p.stat().st_mtime)
    if pictures:
        lines.append(f"  pictures      {pictures[-1]}")
    lines.append(f"  result        {folder / RESULT}")
    return "\n".join(lines)


def _which(adapter: Path, result: Mapping[str, Any]) -> str:
    """What a best checkpoint is the best by; and of when, if the scores of the table are not its own."""
    best = result.get("best")
    if not best or adapter.stem != BEST:
        return ""
    own = "" if best["iter"] == result["iter"] else f" of iteration {best['iter']}; the scores above are the last ones"
    return f", the best by {best['metric']}, {best['value']:.2f}{own}"


def comparison_table(stored: list[dict[str, Any]], result: dict[str, Any]) -> str:
    """A table with a row per method: trained share of the encoder, each task's main metric and Δm.

    Stored rows are means over seeds; their standard deviation of Δm says what a difference to one run means.
    """
    over = ", means over seeds" if any("delta_m_deviation" in row for row in stored) else ""
    rows = [*stored, {**result, "method": f"{result['method']} (this run)"}]
    tasks = list(result["main"])
    lines = [
        f"  beside stored results of the config as it ships{over}",
        f"  {'method':<28}{'encoder':>10}" + "".join(f"{t:>13}" for t in tasks) + f"{'Δm':>9}",
    ]
    for row in rows:
        share = 100 * row["parameters"]["encoder"] / row["parameters"]["base"]
        values = [row["main"].get(task) for task in tasks]
        cells = "".join(f"{'-':>13}" if value is None else f"{value:>13.2f}" for value in values)
        delta, deviation = row.get("delta_m"), row.get("delta_m_deviation")
        cells += "" if delta is None else f"{delta:>+9.2f}"
        cells += "" if deviation is None else f" ± {deviation:.2f}"
        lines.append(f"  {row['method']:<28}{share:>9.1f}%{cells}")
    return "\n".join(lines)
