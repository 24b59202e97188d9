"""The comparison picture: the image, and truth beside prediction for every task, with legends."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mtl.structures import MultiTaskSample
from mtl.tasks.base import Task
from mtl.utils.text import escape

_MARGIN, _LINE, _MIN_SIDE = 8, 18, 224


def comparison(
    tasks: Mapping[str, Task], image: Tensor, truth: MultiTaskSample, predicted: MultiTaskSample
) -> Image.Image:
    """Two rows of panels: the image above, then truth over prediction per task, and legends below.

    Args:
        tasks: the model's tasks.
        image: ``(3, H, W)`` uint8 RGB, as the network saw it.
        truth: the sample with its targets; a task without one shows an empty panel.
        predicted: the sample with its predictions.
    """
    pixels = image.permute(1, 2, 0).cpu().numpy()
    scale = max(1.0, _MIN_SIDE / min(pixels.shape[:2]))
    H, W = (round(side * scale) for side in pixels.shape[:2])
    letters = font()
    columns = len(tasks) + 1
    legends = {name: _shown(task, truth.target(name), predicted.prediction(name)) for name, task in tasks.items()}
    depth = max((len(entries) for entries in legends.values()), default=0)
    sheet = Image.new(
        "RGB",
        (columns * (W + _MARGIN) + _MARGIN, 2 * (H + _MARGIN) + _LINE + _MARGIN + depth * _LINE + _MARGIN),
        "white",
    )
    draw = ImageDraw.Draw(sheet)

    def paste(panel: np.ndarray | None, column: int, row: int, note: str = "") -> None:
        x, y = _MARGIN + column * (W + _MARGIN), _LINE + _MARGIN + row * (H + _MARGIN)
        if panel is None:
            draw.rectangle((x, y, x + W, y + H), fill=(235, 235, 235))
            draw.text((x + 8, y + H // 2), note, fill=(120, 120, 120), font=letters)
            return
        small = panel.shape[0] * panel.shape[1] > H * W
        resized = cv2.resize(panel, (W, H), interpolation=cv2.INTER_AREA if small else cv2.INTER_NEAREST)
        sheet.paste(Image.fromarray(resized), (x, y))

    draw.text((_MARGIN, 4), legible(str(truth.get("name", ""))), fill="black", font=letters)
    paste(pixels, 0, 0)
    draw.text(
        (_MARGIN, _LINE + _MARGIN + H + _MARGIN + 4), "above: truth\nbelow: prediction", fill="black", font=letters
    )
    for column, (name, task) in enumerate(tasks.items(), start=1):
        x = _MARGIN + column * (W + _MARGIN)
        draw.text((x, 4), legible(name), fill="black", font=letters)
        target, prediction = truth.target(name), predicted.prediction(name)
        paste(None if target is None else task.draw(target.cpu().numpy()), column, 0, "no label")
        paste(None if prediction is None else task.draw(prediction.cpu().numpy()), column, 1, "not predicted")
        for i, (label, colour) in enumerate(legends[name]):
            y = _LINE + _MARGIN + 2 * (H + _MARGIN) + i * _LINE
            draw.rectangle((x, y + 2, x + 12, y + 14), fill=colour, outline=(80, 80, 80))
            draw.text((x + 18, y), legible(label), fill="black", font=letters)
    return sheet


def _shown(task: Task, *values: Tensor | None) -> list[tuple[str, tuple[int, int, int]]]:
    pictures = [task.draw(value.cpu().numpy()).reshape(-1, 3) for value in values if value is not None]
    return seen(task, np.concatenate([np.empty((0, 3), np.uint8), *pictures]))


def seen(task: Task, pixels: np.ndarray) -> list[tuple[str, tuple[int, int, int]]]:
    """The legend's entries that appear in ``(N, 3)`` pixels of its pictures; all where colours are no labels."""
    entries = task.legend()
    colours = {tuple(colour) for colour in np.unique(pixels, axis=0).tolist()}
    present = [entry for entry in entries if tuple(entry[1]) in colours]
    return present if len(colours) <= len(entries) + 1 else entries


_FONT = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
"""Latin, Greek, Cyrillic and more; Pillow's own font has Latin without accents."""


@functools.cache
def font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_FONT, 12)


def legible(text: str) -> str:
    """``text`` in one line, with escapes for the characters that the font has no picture of."""
    composed = unicodedata.normalize("NFC", text)  # u and two dots, as macOS names files, are drawn side by side
    return "".join(c if c.isprintable() and ord(c) in _glyphs() else escape(c) for c in composed)


@functools.cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(_FONT).get_charmap())
