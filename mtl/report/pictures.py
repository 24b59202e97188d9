"""What a run folder has beside its result: pictures, made small enough to put into a page, and the training loss."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mtl.report.runs import Run

BUDGET = 8_000_000
"""Characters of pictures in a page."""
PER_RUN = 4
_WIDTH = 1200


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI; width and height in pixels."""

    name: str
    uri: str
    width: int
    height: int


def pictures_of(runs: Sequence[Run]) -> tuple[dict[Path, list[Picture]], list[tuple[str, str]], int]:
    """The pictures by result file, broken ones with the reason, and how many the budget left out.

    Every run's first picture comes before any run's second one.
    """
    files = {run.path: _files(run)[:PER_RUN] for run in runs}
    found: dict[Path, list[Picture]] = {run.path: [] for run in runs}
    broken: list[tuple[str, str]] = []
    used, left_out = 0, 0
    for path, file in _in_turn(files):
        if used > BUDGET:
            left_out += 1
            continue
        try:
            picture = _encode(file)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            broken.append((str(file), f"not a picture that can be read ({type(error).__name__})"))
            continue
        used += len(picture.uri)
        found[path].append(picture)
    return found, broken, left_out


def _in_turn(files: dict[Path, list[Path]]) -> Iterator[tuple[Path, Path]]:
    for number in range(PER_RUN):
        yield from ((path, own[number]) for path, own in files.items() if number < len(own))


def _files(run: Run) -> list[Path]:
    """Those of the test, or of the last validation that drew some."""
    folder = run.path.parent / "pictures"
    folders = (
        [folder / "test"] if run.is_test else sorted((p for p in folder.glob("*_*") if p.is_dir()), key=_number)[-1:]
    )
    return [file for one in folders for file in sorted(one.glob("*.png"))]


def _number(folder: Path) -> int:
    number = folder.name.rpartition("_")[2]
    return int(number) if number.isdigit() else -1


def _encode(file: Path) -> Picture:
    with Image.open(file) as image:
        picture = image.convert("RGB")
    if picture.width > _WIDTH:
        picture = picture.resize((_WIDTH, round(picture.height * _WIDTH / picture.width)), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=80)
    uri = "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
    return Picture(file.stem, uri, picture.width, picture.height)


def losses_of(run: Run) -> list[tuple[int, float]]:
    """Step and training loss that a run logged, over all its starts; a later start's steps replace an earlier one's."""
    if run.is_test:
        return []
    losses: dict[int, float] = {}
    for path in sorted(run.path.parent.glob("*/vis_data/scalars.json")):
        own = dict(_logged(path))
        losses = {step: loss for step, loss in losses.items() if step < min(own, default=math.inf)} | own
    return sorted(losses.items())


def _logged(path: Path) -> Iterator[tuple[int, float]]:
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            step, loss = int(record["step"]), float(record["loss"])
        except (ValueError, TypeError, KeyError, OverflowError):
            continue  # a validation's record, or a line that a kill cut off
        if step > 0 and math.isfinite(loss):
            yield step, loss
