"""A paper's points for the plot, from the tables that ship with the package."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mtl.evaluation.delta_m import REFERENCE
from mtl.registry import choices

NONE = "none"


@dataclass(frozen=True)
class Paper:
    """One table of a paper.

    Attributes:
        points: method, trained parameters in the encoder (M) and Δm (%) of each row.
        note: where the points come from and which misprints are corrected.
    """

    data: str
    setting: str
    source: str
    points: list[tuple[str, float, float]]
    note: str


def paper_names() -> list[str]:
    """``polyhistor/1`` and the like."""
    return [f"{stem}/{number}" for stem, paper in _papers().items() for number in paper["tables"]]


def load_paper(name: str) -> Paper | None:
    """The table of a name that `paper_names` lists, misprints corrected; None for ``none``."""
    if name == NONE:
        return None
    if name not in paper_names():
        raise ValueError(f"no paper's table {name!r} ships with the package; {choices([*paper_names(), NONE], name)}")
    stem, _, number = name.partition("/")
    paper = _papers()[stem]
    table = paper["tables"][number]
    rows = {row[0]: dict(zip(paper["columns"], row, strict=True)) for row in table["rows"]}
    corrected = []
    for misprint in paper["misprints"]:
        if misprint["table"] == number and misprint["column"] in ("method", "encoder_params_m", "delta_m"):
            rows[misprint["method"]][misprint["column"]] = misprint["corrected"]
            of = "" if misprint["column"] == "method" else f"{misprint['method']} "
            corrected.append(f"{of}{misprint['printed']} to {misprint['corrected']}")
    note = f"{paper['source']}, table {number} ({table['setting']}), measured on {paper['data']}"
    if corrected:
        note += f"; misprints corrected: {', '.join(corrected)}"
    points = [(row["method"], float(row["encoder_params_m"]), float(row["delta_m"])) for row in rows.values()]
    return Paper(paper["data"], table["setting"], paper["source"].partition(":")[0], points, note)


def _papers() -> dict[str, dict]:
    papers = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(REFERENCE.glob("*.json"))}
    return {stem: paper for stem, paper in papers.items() if "tables" in paper}
