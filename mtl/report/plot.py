"""The page's plots as inline SVG: Δm against trained parameters, and the training loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from mtl.report.labels import Box, leader_end, place_labels

WIDTH, HEIGHT = 920, 560
_LEFT, _TOP, _RIGHT, _BOTTOM = 64, 16, 24, 60
_ZERO = 96
"""Width of the column of methods that train nothing in the encoder, where a logarithm has no place."""


@dataclass(frozen=True)
class Point:
    """A method: trained parameters in the encoder (M, may be 0), Δm (%), its deviation, and whose number it is."""

    label: str
    millions: float
    delta: float
    deviation: float | None
    own: bool


def delta_plot(points: Sequence[Point], title: str) -> Markup:
    """Figure 3 of the Polyhistor paper (arXiv 2210.03265): Δm over trained encoder parameters, log axis."""
    x, decades = _x_axis(points)
    low, high, step = _y_range(points)

    def y(delta: float) -> float:
        return _TOP + (high - delta) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    parts = [_grid_y(low, high, step, y), _grid_x(x, decades, any(p.millions == 0 for p in points))]
    places = [(x(point.millions), y(point.delta)) for point in points]
    frame = Box(_LEFT, _TOP / 2, WIDTH, HEIGHT - _BOTTOM)
    labels = place_labels([(point.label, point.own) for point in points], places, frame)
    for point, (px, py), box in zip(points, places, labels, strict=True):
        parts.append(_leader(px, py, box))
        if point.deviation:
            ends = y(point.delta + point.deviation), y(point.delta - point.deviation)
            parts.append(Markup('<path class="whisker" d="M{0:.1f} {1:.1f}V{2:.1f}"/>').format(px, *ends))
    for point, (px, py), box in zip(points, places, labels, strict=True):
        parts.append(_mark(point, px, py))
        kind = "own" if point.own else "paper"
        parts.append(
            Markup('<text class="label {}" x="{:.1f}" y="{:.1f}">{}</text>').format(
                kind, box.x0 + 2, box.y1 - 4, point.label
            )
        )
    return _svg(WIDTH, HEIGHT, title, parts)


def _x_axis(points: Sequence[Point]):
    values = [math.log10(point.millions) for point in points if point.millions > 0] or [-1.0, 1.0]
    first, last = math.floor(min(values)), math.ceil(max(values))
    last = max(last, first + 1)
    left = _LEFT + (_ZERO if any(point.millions == 0 for point in points) else 0)

    def x(millions: float) -> float:
        if millions <= 0:
            return _LEFT + _ZERO / 2 - 8
        return left + (math.log10(millions) - first) / (last - first) * (WIDTH - _RIGHT - left)

    return x, range(first, last + 1)


def _y_range(points: Sequence[Point]) -> tuple[float, float, float]:
    """Lowest, highest and step of the Δm axis, with room for labels at both ends."""
    low = min(point.delta - (point.deviation or 0) for point in points)
    high = max(point.delta + (point.deviation or 0) for point in points)
    low, high = min(low, 0.0), max(high, 0.0)
    step = nice_step((high - low or 1.0) / 7)
    return low - 0.6 * step, high + 0.6 * step, step


def nice_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _grid_y(low: float, high: float, step: float, y) -> Markup:
    parts = []
    for i in range(math.ceil(low / step), math.floor(high / step) + 1):
        value = i * step
        kind = "zero" if i == 0 else "grid"
        text = f"{value:+.{max(0, -math.floor(math.log10(step)))}f}" if i else "0"
        parts.append(
            Markup('<path class="{}" d="M{} {:.1f}H{}"/>').format(kind, _LEFT, y(value), WIDTH - _RIGHT)
            + Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                _LEFT - 8, y(value) + 4, text
            )
        )
    parts.append(
        Markup('<text class="axis" transform="translate(15 {}) rotate(-90)" text-anchor="middle">Δm (%)</text>').format(
            (HEIGHT - _BOTTOM) // 2
        )
    )
    return Markup("").join(parts)


def _grid_x(x, decades: range, zero: bool) -> Markup:
    base = HEIGHT - _BOTTOM
    start = _LEFT + (_ZERO if zero else 0)
    parts = []
    for decade in decades:
        for factor in range(1, 10):
            millions = factor * 10.0**decade
            if decade == decades[-1] and factor > 1:
                break
            parts.append(
                Markup('<path class="line" d="M{:.1f} {}v{}"/>').format(x(millions), base, 3 + 3 * (factor == 1))
            )
        parts.append(Markup('<path class="grid" d="M{:.1f} {}V{}"/>').format(x(10.0**decade), _TOP, base))
        parts.append(_tick(x(10.0**decade), f"{10.0**decade:g}"))
    if zero:
        # two strokes through the axis: what is left of them is not on the scale
        gap = start - 14
        parts.append(
            Markup('<path class="line" d="M{} {}H{}M{} {}H{}"/>').format(
                _LEFT, base, gap - 4, gap + 4, base, WIDTH - _RIGHT
            )
        )
        parts.append(Markup('<path class="line" d="M{} {}l6 -12m2 12l6 -12"/>').format(gap - 7, base + 6))
        parts.append(_tick(x(0), "0"))
    else:
        parts.append(Markup('<path class="line" d="M{} {}H{}"/>').format(_LEFT, base, WIDTH - _RIGHT))
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (start + WIDTH - _RIGHT) / 2, HEIGHT - 14, "trained parameters in the encoder (M, logarithmic)"
        )
    )
    return Markup("").join(parts)


def _tick(x: float, text: str) -> Markup:
    return Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
        x, HEIGHT - _BOTTOM + 22, text
    )


def _mark(point: Point, x: float, y: float) -> Markup:
    what = f"{point.label}: {point.millions:.3g} M, Δm {point.delta:+.2f} %"
    if point.own:
        shape = Markup('<circle class="own" cx="{:.1f}" cy="{:.1f}" r="5.5">').format(x, y)
        return shape + Markup("<title>{}</title></circle>").format(what)
    shape = Markup('<path class="paper" d="M{:.1f} {:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z">').format(x, y - 5.5)
    return shape + Markup("<title>{}</title></path>").format(what)


def _leader(x: float, y: float, box: Box) -> Markup:
    """A line from a point to a label that found no place beside it."""
    end = leader_end(x, y, box)
    return Markup('<path class="leader" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(x, y, *end) if end else Markup("")


def loss_plot(losses: Sequence[tuple[int, float]], title: str) -> Markup:
    """Training loss over steps."""
    width, height, left, top, bottom = 640, 200, 56, 10, 40
    last, high = losses[-1][0], max(loss for _, loss in losses)
    step = nice_step(max(high, 1e-12) / 4)
    ceiling = step * math.ceil(high / step) or step

    def y(loss: float) -> float:
        return top + (1 - loss / ceiling) * (height - top - bottom)

    def x(at: int) -> float:
        return left + at / last * (width - left - 16)

    parts = []
    for i in range(round(ceiling / step) + 1):
        parts.append(
            Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(left, y(i * step), width - 16)
            + Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                left - 8, y(i * step) + 4, f"{i * step:g}"
            )
        )
    path = "M" + "L".join(f"{x(at):.1f} {y(max(loss, 0.0)):.1f}" for at, loss in losses)
    parts.append(Markup('<path class="curve" d="{}"/>').format(path))
    parts.append(
        Markup(
            '<text class="tick" x="{0}" y="{1}">0</text><text class="tick" x="{2}" y="{1}" text-anchor="end">{3}</text>'
        ).format(left, height - 24, width - 16, last)
    )
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">step</text>').format(
            (width + left) / 2, height - 8
        )
    )
    return _svg(width, height, title, parts)


def _svg(width: int, height: int, title: str, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">')
    return head.format(width, height, escape(title)) + Markup("").join(parts) + Markup("</svg>")
