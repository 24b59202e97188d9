"""Predicting files: overlays, raw results and a contact sheet in a folder of their own."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mtl.datasets.files import read_image
from mtl.engine.inputs import Input, Video, opencv_path, quiet_opencv
from mtl.engine.output_folder import SHEET, write_manifest
from mtl.engine.overlays import ContactSheet, overlay
from mtl.engine.predictor import Prediction, Predictor
from mtl.utils.images import MAX_PIXELS
from mtl.utils.text import printable, reason

_FRAMES_IN_SHEET = 3
_BATCH_PIXELS = 2**25
"""Of the images whose predictions are in memory together, not counting the last one."""


@dataclass(frozen=True)
class Options:
    """How files are predicted.

    Args:
        batch_size: images or frames at a time.
        every: frames of a video from one prediction to the next.
        raw: write the results themselves too.
        overlays: write the overlays.
        opacity: of the overlays, 0..1.
        rows: how many inputs the contact sheet shows, evenly spread; of a video it shows up to three frames.
        max_pixels: of an image or a frame; larger ones are not decoded.
    """

    batch_size: int = 4
    every: int = 1
    raw: bool = False
    overlays: bool = True
    opacity: float = 0.6
    rows: int = 8
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for name in ("batch_size", "every", "rows", "max_pixels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"opacity lies between 0 and 1, not {self.opacity}")


def predict_files(predictor: Predictor, inputs: Sequence[Input], out: Path, options: Options) -> tuple[int, list[str]]:
    """Predict every input and write what ``options`` asks for; whatever fails for one does not stop the others.

    ``out/<task>/<name>.png`` (``.mp4`` for a video) are overlays, ``out/raw/<task>/<name>`` raw results: class ids as
    a grey PNG of the ids, anything else as float32 NPY, of a video in a folder with a file per frame.

    Returns:
        How many inputs were predicted, and one line for each other one and for a contact sheet that was not written.
    """
    writer = _Writer(predictor, out, options, len(inputs))
    images = [item for item in inputs if not item.is_video]
    videos = [item for item in inputs if item.is_video]
    with _progress(len(inputs)) as bar:
        readable = _read(images, writer, bar)
        for batch in _batches(readable, options.batch_size):
            try:
                predictions: Sequence[Prediction | None] = predictor([pixels for _, pixels in batch])
            except Exception:  # each by itself, which says whose fault it is
                predictions = [None] * len(batch)
            for (item, pixels), prediction in zip(batch, predictions, strict=True):
                with writer.listing(item):
                    writer.image(item, pixels, predictor(pixels) if prediction is None else prediction)
                bar.advance(bar.task_ids[0])
        for item in videos:
            with writer.listing(item):
                _predict_video(predictor, item, writer, bar)
    done = len(inputs) - len(writer.problems)
    if writer.sheet.rows:
        try:
            with _output(out / SHEET) as path:
                writer.sheet.draw().save(path)
        except Exception as error:
            writer.problems.append(f"{printable(out / SHEET)}: {type(error).__name__}: {reason(error)}")
    used = {item.name: str(item.path) for item in inputs}
    write_manifest(out, {"tasks": list(predictor.tasks), "inputs": used, "problems": writer.problems})
    return done, writer.problems


def _read(images: Sequence[Input], writer: _Writer, bar: Progress) -> Iterator[tuple[Input, np.ndarray]]:
    """The images that can be read."""
    for item in images:
        try:
            pixels = read_image(item.path, writer.options.max_pixels)
        except ValueError as error:
            writer.refuse(item, error)
            bar.advance(bar.task_ids[0])
            continue
        yield item, pixels


def _batches(images: Iterable[tuple[Input, np.ndarray]], size: int) -> Iterator[list[tuple[Input, np.ndarray]]]:
    """Up to ``size`` images at a time, fewer if they are large."""
    batch: list[tuple[Input, np.ndarray]] = []
    for image in images:
        batch.append(image)
        if len(batch) == size or sum(pixels.size // 3 for _, pixels in batch) > _BATCH_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def _predict_video(predictor: Predictor, item: Input, writer: _Writer, bar: Progress) -> None:
    (total,) = bar.tasks
    video = Video(item.path, writer.options.every, writer.options.max_pixels)
    bar.update(total.id, total=(total.total or 0) + video.expected - 1)
    with writer.video(item, video) as write:
        frames = video.frames()
        while batch := list(islice(frames, writer.options.batch_size)):
            for frame, prediction in zip(batch, predictor(batch), strict=True):
                write(frame, prediction)
                bar.advance(total.id)


class _Writer:
    """Where the outputs go."""

    def __init__(self, predictor: Predictor, out: Path, options: Options, inputs: int) -> None:
        self.tasks = predictor.tasks
        self.out = out
        self.options = options
        self.sheet = ContactSheet(predictor.tasks, options.opacity)
        self.shown = _Spread(inputs, options.rows)
        self.seen = 0
        self.problems: list[str] = []

    @contextmanager
    def listing(self, item: Input) -> Iterator[None]:
        """Whatever fails for the input is told of, in one line, and goes no further."""
        try:
            yield
        except Exception as error:
            self.refuse(item, error)
        else:
            self.seen += 1

    def refuse(self, item: Input, error: Exception) -> None:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        name, text = printable(item.path), kind + reason(error)
        self.problems.append(text if name in text else f"{name}: {text}")
        self.seen += 1

    def image(self, item: Input, image: np.ndarray, prediction: Prediction) -> None:
        if self.shown.take(self.seen):
            self.sheet.add(item.path.name, image, prediction)
        self._raw(prediction, item.name)
        if self.options.overlays:
            for name, task in self.tasks.items():
                picture = overlay(task, image, prediction[name], self.options.opacity)
                with _output(self.out / name / f"{item.name}.png") as path:
                    Image.fromarray(picture).save(path, compress_level=3)

    @contextmanager
    def video(self, item: Input, video: Video) -> Iterator[Callable[[np.ndarray, Prediction], None]]:
        """What writes one frame and its prediction after the other."""
        films: dict[str, cv2.VideoWriter] = {}
        shown = _Spread(video.expected, _FRAMES_IN_SHEET) if self.shown.take(self.seen) else None
        count = 0

        def write(frame: np.ndarray, prediction: Prediction) -> None:
            nonlocal count
            if shown is not None and shown.take(count):
                self.sheet.add(f"{item.path.name}, frame {count * video.every}", frame, prediction)
            self._raw(prediction, f"{item.name}/{count * video.every:06d}")
            for name, task in self.tasks.items() if self.options.overlays else ():
                if name not in films:
                    films[name] = _open_film(self.out / name / f"{item.name}.mp4", video.fps, frame.shape)
                picture = overlay(task, frame, prediction[name], self.options.opacity)
                films[name].write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            count += 1

        try:
            yield write
        finally:
            for film in films.values():
                film.release()
        for name in films:  # OpenCV is silent about a full disk
            path = self.out / name / f"{item.name}.mp4"
            written = int(cv2.VideoCapture(opencv_path(path)).get(cv2.CAP_PROP_FRAME_COUNT))
            if written < count:
                raise ValueError(f"cannot write {printable(path)}: it has {written} of {count} frames")

    def _raw(self, prediction: Prediction, name: str) -> None:
        for task, value in prediction.items() if self.options.raw else ():
            if value.dtype == np.uint8:
                with _output(self.out / "raw" / task / f"{name}.png") as path:
                    Image.fromarray(value).save(path)
            else:
                with _output(self.out / "raw" / task / f"{name}.npy") as path:
                    np.save(path, value)


@contextmanager
def _output(path: Path) -> Iterator[Path]:
    """``path`` to write to; `ValueError` names it where that fails, and nothing half is left."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
    except (OSError, ValueError) as error:
        with suppress(OSError):
            path.unlink()
        raise ValueError(f"cannot write {printable(path)}: {reason(error)}") from error


class _Spread:
    """Which of ``total`` things in turn are the ``most`` evenly spread ones; one that fails is made up for later."""

    def __init__(self, total: int, most: int) -> None:
        self._due = sorted({round(i) for i in np.linspace(0, total - 1, min(most, total))})
        self._taken = 0

    def take(self, position: int) -> bool:
        wanted = self._taken < bisect_right(self._due, position)
        self._taken += wanted
        return wanted


def _open_film(path: Path, fps: float, shape: tuple[int, ...]) -> cv2.VideoWriter:
    with _output(path):
        path.touch()  # OpenCV does not say what the file system says
        with quiet_opencv():
            film = cv2.VideoWriter(opencv_path(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (shape[1], shape[0]))
        if not film.isOpened():
            raise OSError(f"OpenCV has no mp4v encoder for {shape[1]} x {shape[0]}")
    return film


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    """A bar on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(
        *columns,
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    bar.add_task("predicting", total=total)
    with bar:
        yield bar
