"""The page: everything in one HTML file that asks for nothing from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mtl.engine.files import replacing
from mtl.report.paper import Paper
from mtl.report.pictures import Picture, losses_of, pictures_of
from mtl.report.plot import Point, delta_plot, loss_plot
from mtl.report.remarks import MISSING, counted, relative_to
from mtl.report.runs import Found, Run, delta, seed_of
from mtl.report.tables import Row, Table, make_tables, over_runs
from mtl.utils.files import open_regular
from mtl.utils.text import printable
from mtl.version import __version__

MARK = '<meta name="generator" content="mtl report">'
"""In the head of every report: a file without it is never written over."""


@dataclass
class Detail:
    """All that the page has of one run."""

    run: Run
    title: str
    facts: list[tuple[str, str]]
    metrics: dict[str, list[tuple[str, str]]]
    parts: dict[str, list[tuple[str, str]]]
    curve: Markup | None
    pictures: list[Picture]


def check_out(out: Path) -> None:
    """Raise `ValueError` where the report cannot or must not be written to ``out``."""
    if out.suffix != ".html" or out.is_dir():
        raise ValueError(f"--out names an .html file, not {str(out)!r}")
    if out.exists():
        with open_regular(out) as file:
            if MARK.encode() not in file.read(4096):
                raise ValueError(f"{out} is no report of this tool and stays as it is; choose another --out")


def write_page(found: Found, out: Path, title: str, paper: Paper | None) -> None:
    """Write the report; pictures and logs that cannot be read are added to ``found.broken``."""
    tables = make_tables(found.runs)
    pictures, broken, left_out = pictures_of(found.runs)
    logged = {run.path: losses_of(run) for run in found.runs}
    losses = {path: own for path, (own, _) in logged.items()}
    found.broken += [*broken, *(entry for _, unread in logged.values() for entry in unread)]
    if left_out:
        found.notes.append(f"{left_out} pictures are left out to keep the page small")
    environment = Environment(
        loader=PackageLoader("mtl.report", ""),
        autoescape=True,
        finalize=lambda value: printable(value, keep="\n\t") if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(
        mark=Markup(MARK),
        title=title,
        version=__version__,
        tables=[(table, _plot(table, paper), _details(table, pictures, losses)) for table in tables],
        paper=paper,
        broken=found.broken,
        notes=found.notes,
        runs=counted(len(found.runs), "result"),
    )
    with replacing(out) as part:
        part.write_text(text, "utf-8")


def _plot(table: Table, paper: Paper | None) -> Markup | None:
    """None where no row has a Δm: the paper's points alone say nothing of these runs."""
    own = [point for row in table.rows if (point := _point(row)) is not None]
    theirs = [Point(*point, deviation=None, own=False) for point in (paper.points if paper else [])]
    if not own:
        return None
    return delta_plot([*own, *theirs], "Δm against trained parameters in the encoder")


def _point(row: Row) -> Point | None:
    value, deviation = over_runs(row.runs, delta)
    if value is None:
        return None
    return Point(
        printable(row.plot_label), row.runs[0].result["parameters"]["encoder"] / 1e6, value, deviation, own=True
    )


Losses = list[tuple[int, float]]


def _details(table: Table, pictures: dict[Path, list[Picture]], losses: dict[Path, Losses]) -> list[Detail]:
    return [_detail(run, row, pictures[run.path], losses[run.path]) for row in table.rows for run in row.runs]


def _detail(run: Run, row: Row, pictures: list[Picture], losses: Losses) -> Detail:
    result, seed = run.result, seed_of(run)
    value, checkpoint = delta(run), result.get("checkpoint")
    facts = [("result", str(run.path)), ("config", str(result.get("config", MISSING)))]
    facts += [("checkpoint", str(checkpoint))] if checkpoint else []
    facts += [("Δm", MISSING if value is None else f"{value:+.2f} % relative to {relative_to(run)}")]
    return Detail(
        run=run,
        title=row.label + (f" ({row.detail})" if row.detail else "") + ("" if seed is None else f", seed {seed}"),
        facts=facts,
        metrics={task: _numbers(metrics, False) for task, metrics in result["metrics"].items()},
        parts={task: shown for task, metrics in result["metrics"].items() if (shown := _numbers(metrics, True))},
        curve=loss_plot(losses, "training loss") if len(losses) > 1 else None,
        pictures=pictures,
    )


def _numbers(metrics: dict[str, Any], per_class: bool) -> list[tuple[str, str]]:
    """Names and values of a task's metrics; those of single classes have a slash."""
    return [
        (key.partition("/")[2] or key, MISSING if value is None else f"{value:.2f}")
        for key, value in metrics.items()
        if ("/" in key) is per_class
    ]


def summary(found: Found, out: Path) -> Sequence[str]:
    """What was written, for the terminal."""
    tables = len(make_tables(found.runs))
    counts = f"{counted(len(found.runs), 'result')} in {counted(tables, 'table')}"
    return [f"{counts}: {printable(out)} ({out.stat().st_size / 1e6:.1f} MB)"]
