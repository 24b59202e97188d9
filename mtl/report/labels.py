"""Places for a plot's labels: each near its point, over no other label, point or line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_FONT = 12.5


@dataclass(frozen=True)
class Box:
    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: Box) -> float:
        """The common area."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return width * height if width > 0 and height > 0 else 0.0

    def holds(self, other: Box) -> bool:
        return other.x0 > self.x0 and other.x1 < self.x1 and other.y0 > self.y0 and other.y1 < self.y1


def place_labels(labels: Sequence[tuple[str, bool]], places: Sequence[tuple[float, float]], frame: Box) -> list[Box]:
    """A box for each label, beside its point or as near as there is room.

    Args:
        labels: text, and whether it is bold; bold ones, then long ones, choose first.
        places: of their points.
        frame: boxes lie in it.
    """
    taken = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in places]
    found: dict[int, Box] = {}
    lines: list[Box] = []
    for i in sorted(range(len(labels)), key=lambda i: (not labels[i][1], -len(labels[i][0]))):
        x, y = places[i]
        others = [*taken[:i], *taken[i + 1 :], *found.values(), *lines]
        best, least = None, math.inf
        for distance, box in _candidates(x, y, *labels[i]):
            if distance > least + 4:
                break  # candidates only get farther
            cost = 100 * sum(map(box.overlap, others)) + distance + (0 if frame.holds(box) else 1e6)
            if cost < least:
                cost += 2 * sum(dot.overlap(other) for dot in _line(x, y, box) for other in others)
            if cost < least:
                best, least = box, cost
        assert best is not None
        found[i] = best
        lines += _line(x, y, best)
    return [found[i] for i in range(len(labels))]


def leader_end(x: float, y: float, box: Box) -> tuple[float, float] | None:
    """Where the line from a point to its label ends; None for a label beside its point."""
    nx, ny = min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1)
    return (nx, ny) if math.hypot(nx - x, ny - y) >= 12 else None


def _line(x: float, y: float, box: Box) -> list[Box]:
    """The leader of a label as small boxes; empty where it has none."""
    end = leader_end(x, y, box)
    if end is None:
        return []
    steps = [i / 12 for i in range(2, 12)]
    dots = [(x + s * (end[0] - x), y + s * (end[1] - y)) for s in steps]
    return [Box(dx - 1.5, dy - 1.5, dx + 1.5, dy + 1.5) for dx, dy in dots]


def _candidates(x: float, y: float, text: str, bold: bool) -> Iterator[tuple[float, Box]]:
    width, height = 4 + _FONT * (1.1 if bold else 1.0) * sum(map(_em, text)), _FONT + 4
    for distance in range(0, 330, 10):
        for turn in range(24 if distance else 8):
            angle = 2 * math.pi * turn / (24 if distance else 8)
            reach = 9 + distance
            cx = x + math.cos(angle) * (reach + width / 2)
            cy = y + math.sin(angle) * (reach + height / 2)
            # a penalty on everything but right and left of the point
            yield (
                distance + 4 * abs(math.sin(angle)),
                Box(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2),
            )


def _em(letter: str) -> float:
    """A letter's width in the widest of the page's fonts."""
    if letter in "mwMW+%=":
        return 0.95
    return 0.7 if letter.isupper() else 0.4 if letter in "iljtf-.,() " else 0.62
