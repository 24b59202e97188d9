"""Predictions over their images: overlays, and the sheet that shows images and tasks side by side."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from PIL import Image, ImageDraw

from mtl.engine.pictures import font, legible, seen
from mtl.tasks.base import Task

_MARGIN, _LINE, _WIDTH, _HEIGHT = 8, 18, 256, 320
_STRIP = 2**20
"""Pixels that are mixed at a time: floats of a whole photograph are large."""

Colour = tuple[int, int, int]


def overlay(task: Task, image: np.ndarray, prediction: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """The task's picture over ``image`` ``(H, W, 3)`` uint8 RGB, as opaque as `Task.coverage` times ``opacity``."""
    picture, coverage = task.draw(prediction), task.coverage(prediction)
    mixed = np.empty_like(image)
    rows = max(1, _STRIP // image.shape[1])
    for top in range(0, len(image), rows):
        part = slice(top, top + rows)
        share = (opacity * coverage[part])[..., None].astype(np.float32)
        mixed[part] = np.round(image[part] + share * (picture[part].astype(np.float32) - image[part]))
    return mixed


class ContactSheet:
    """A row per image: the image and every task's overlay, with aspect ratios kept; legends of what is seen below.

    Args:
        tasks: the columns.
        opacity: of the overlays.
    """

    def __init__(self, tasks: Mapping[str, Task], opacity: float = 0.6) -> None:
        self.tasks = dict(tasks)
        self.opacity = opacity
        self.rows: list[tuple[str, list[np.ndarray]]] = []
        self.legends: dict[str, set[tuple[str, Colour]]] = {name: set() for name in tasks}

    def add(self, caption: str, image: np.ndarray, predictions: Mapping[str, np.ndarray]) -> None:
        """A row of an image ``(H, W, 3)`` uint8 RGB and its predictions; only what the sheet shows is kept."""
        scale = min(_WIDTH / image.shape[1], _HEIGHT / image.shape[0])
        size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        panels = [small]
        for name, task in self.tasks.items():
            value = cv2.resize(predictions[name], size, interpolation=cv2.INTER_NEAREST_EXACT)
            panels.append(overlay(task, small, value, self.opacity))
            self.legends[name].update(seen(task, task.draw(value)[task.coverage(value) > 0]))
        self.rows.append((caption, panels))

    def draw(self) -> Image.Image:
        """The sheet as it is now."""
        heights = [panels[0].shape[0] for _, panels in self.rows]
        depth = max((len(entries) for entries in self.legends.values()), default=0)
        columns = len(self.tasks) + 1
        height = _LINE + 2 * _MARGIN + sum(h + _LINE + _MARGIN for h in heights) + (depth + 1) * _LINE
        sheet = Image.new("RGB", (columns * (_WIDTH + _MARGIN) + _MARGIN, height), "white")
        draw = ImageDraw.Draw(sheet)
        for column, title in enumerate(["image", *self.tasks]):
            draw.text((_MARGIN + column * (_WIDTH + _MARGIN), 4), legible(title), fill="black", font=font())
        y = _LINE + _MARGIN
        for (caption, panels), h in zip(self.rows, heights, strict=True):
            for column, panel in enumerate(panels):
                x = _MARGIN + column * (_WIDTH + _MARGIN) + (_WIDTH - panel.shape[1]) // 2
                sheet.paste(Image.fromarray(panel), (x, y))
            draw.text((_MARGIN, y + h + 1), _shortened(legible(caption), draw), fill=(90, 90, 90), font=font())
            y += h + _LINE + _MARGIN
        for column, (name, task) in enumerate(self.tasks.items(), start=1):
            x = _MARGIN + column * (_WIDTH + _MARGIN)
            for i, (label, colour) in enumerate(entry for entry in task.legend() if entry in self.legends[name]):
                draw.rectangle((x, y + i * _LINE + 2, x + 12, y + i * _LINE + 14), fill=colour, outline=(80, 80, 80))
                draw.text((x + 18, y + i * _LINE), legible(label), fill="black", font=font())
        return sheet


def _shortened(text: str, draw: ImageDraw.ImageDraw) -> str:
    """``text`` cut to a panel's width."""
    if draw.textlength(text, font()) <= _WIDTH:
        return text
    while text and draw.textlength(text + "...", font()) > _WIDTH:
        text = text[:-1]
    return text + "..."
