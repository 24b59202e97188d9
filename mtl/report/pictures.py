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

from mtl.engine.run_folder import checkpoint_number
from mtl.report.runs import Run
from mtl.utils.files import open_regular
from mtl.utils.images import open_image
from mtl.utils.text import reason

BUDGET = 8_000_000
"""Characters of pictures in a page."""
PER_RUN = 4
_LARGEST = 1e30
"""Of steps and losses: no axis has room for larger ones."""
_WIDTH, _HEIGHT = 1200, 4000
_MAX_PIXELS = 50_000_000
"""Of a picture: those that training draws have a hundredth of it."""


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
        except Exception as error:  # decoders raise whatever their format's library does
            broken.append((str(file), f"not a picture that can be read ({reason(error)})"))
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
    if run.is_test:
        return sorted((folder / "test").glob("*.png"))
    numbers = {one: number for one in folder.glob("*") if (number := checkpoint_number(one)) is not None}
    drawn = [files for one in sorted(numbers, key=lambda one: numbers[one]) if (files := sorted(one.glob("*.png")))]
    return drawn[-1] if drawn else []


def _encode(path: Path) -> Picture:
    with open_regular(path) as file, open_image(file, _MAX_PIXELS) as image:
        picture = image.convert("RGB")
    scale = min(1, _WIDTH / picture.width, _HEIGHT / picture.height)
    if scale < 1:
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=80)
    uri = "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
    return Picture(path.stem, uri, picture.width, picture.height)


def losses_of(run: Run) -> tuple[list[tuple[int, float]], list[tuple[str, str]]]:
    """Step and training loss that a run logged, and the files that cannot be read with the reason.

    They are of all its starts; a later start's steps replace an earlier one's.
    """
    losses: dict[int, float] = {}
    broken = []
    for path in [] if run.is_test else sorted(run.path.parent.glob("*/vis_data/scalars.json")):
        try:
            own = dict(_logged(path))
        except OSError as error:
            broken.append((str(path), f"cannot be read ({reason(error)})"))
            continue
        losses = {step: loss for step, loss in losses.items() if step < min(own, default=math.inf)} | own
    return sorted(losses.items()), broken


def _logged(path: Path) -> Iterator[tuple[int, float]]:
    with open_regular(path) as file:
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    for line in lines:
        try:
            record = json.loads(line)
            step, loss = int(record["step"]), float(record["loss"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            continue  # a validation's record, or a line that a kill cut off
        if 0 < step < _LARGEST and abs(loss) < _LARGEST:  # not for NaN
            yield step, loss
