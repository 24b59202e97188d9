"""Procedural textures in object coordinates, and the colours they are mixed from."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Colour = tuple[float, float, float]

_OCTAVES = 3
_WAVES = np.random.default_rng(0).standard_normal((_OCTAVES, 3, 3))
_WAVES *= 2 * np.pi * 2.3 ** np.arange(_OCTAVES)[:, None, None] / np.linalg.norm(_WAVES, axis=2, keepdims=True)
_WAVES = _WAVES.astype(np.float32)


def noise(points: np.ndarray) -> np.ndarray:
    """Smooth noise in about [−1, 1] with detail from 1 down to a fifth of the unit; ``(3, n)`` -> ``(n,)``.

    Products of sine waves, each bent by the coarser one: no table whose cells would show, and a few calls for any
    number of points.
    """
    total = value = np.zeros(points.shape[1], np.float32)
    for octave, waves in enumerate(_WAVES):
        phase = np.einsum("ij,jn->in", waves, points)
        phase += np.float32(2.5) * value
        np.sin(phase, out=phase)
        value = phase[0] * phase[1] + phase[2] * phase[0]
        total = total + value * np.float32(0.75**octave * 0.6)
    return total


def _stripes(points: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 4 * np.sin(2 * np.pi * (axis @ points)), 0, 1)


def _checker(points: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 8 * np.sin(np.float32(np.pi) * points + np.float32(0.9)).prod(0), 0, 1)


def _tiles(points: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Joints around square tiles."""
    across = points[np.argsort(np.abs(axis))[:2]]
    return np.clip(40 * np.cos(2 * np.pi * across).max(0) - 38.8, 0, 1)


def _planks(points: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Boards along a coordinate axis: grain that is drawn out along it, and joints."""
    grain = noise(points - axis[:, None] * (np.float32(0.9) * (axis @ points)))
    across = points[0] if axis[2] else points[2]
    joints = np.clip(30 * np.cos(2 * np.pi * across) - 29.5, 0, 0.5)
    return np.clip(0.4 + 0.4 * grain + joints, 0, 1)


def _windows(points: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Panes on the sides of a house that stands along the axes."""
    panes = np.clip(12 * np.cos(2 * np.pi * (points[0] + points[2])) - 2, 0, 1)
    panes *= np.clip(12 * np.cos(2 * np.pi * points[1]), 0, 1)
    return panes


def _gradient(points: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + axis @ points, 0, 1)


def _marble(points: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 0.7 * noise(points), 0, 1)


# how much of the accent a point has, and the share of it over a whole period, which stands in for detail that is
# finer than the pixels
_PATTERNS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], float]] = {
    "stripes": (_stripes, 0.5),
    "checker": (_checker, 0.5),
    "tiles": (_tiles, 0.1),
    "planks": (_planks, 0.4),
    "windows": (_windows, 0.2),
    "gradient": (_gradient, 0.5),
    "marble": (_marble, 0.5),
}
PATTERNS = ("plain", *_PATTERNS)


@dataclass(frozen=True)
class Material:
    """Two linear RGB colours mixed by a pattern.

    Args:
        base, accent: linear RGB in [0, 1].
        pattern: one of ``PATTERNS``.
        period: of the pattern, metres.
        axis: unit vector in object coordinates that the pattern follows.
        grain: strength of the noise in brightness.
        gloss: strength of the highlight.
        glow: light that the surface gives off.
    """

    base: Colour
    accent: Colour = (1.0, 1.0, 1.0)
    pattern: str = "plain"
    period: float = 0.2
    axis: tuple[float, float, float] = (0.0, 1.0, 0.0)
    grain: float = 0.1
    gloss: float = 0.0
    glow: float = 0.0

    def albedo(self, points: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """Linear RGB ``(3, n)`` at ``points``, ``(3, n)`` in object coordinates, metres.

        ``footprint`` ``(n,)`` is a pixel's size there, metres: the pattern fades where it is finer.
        """
        base, accent = np.array([self.base, self.accent], np.float32)[:, :, None]
        if self.pattern == "plain":
            return base
        pattern, mean = _PATTERNS[self.pattern]
        mix = pattern(points * np.float32(1 / self.period), np.array(self.axis, np.float32))
        mix -= mean
        mix *= np.clip(np.float32(self.period / 4) / footprint - np.float32(0.5), 0, 1)
        mix += mean
        return base + (accent - base) * mix


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of a few, evenly; ``rng.choice`` takes ten times as long."""
    return options[int(rng.integers(len(options)))]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Linear RGB of a display colour."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return r * r, g * g, b * b


_HUES = (0.0, 0.03, 0.06, 0.09, 0.12, 0.16, 0.28, 0.36, 0.47, 0.54, 0.58, 0.62, 0.67, 0.93)
"""Hues of paint and cloth: fewer acid greens and purples than an even draw would give."""


def tint(rng: np.random.Generator, saturation=(0.15, 0.6), value=(0.35, 0.9), hue=None) -> Colour:
    """A random colour with each of its components in a range; without one for the hue, one that is usual."""
    h = pick(rng, _HUES) + rng.normal(0, 0.012) if hue is None else rng.uniform(*hue)
    return hsv(h, rng.uniform(*saturation), rng.uniform(*value))


def shade_of(rng: np.random.Generator, colour: Colour, contrast: float = 0.35) -> Colour:
    """A colour that goes with ``colour``: lighter or darker, and a little different."""
    factors = rng.uniform(1 - contrast, 1 + contrast) * rng.uniform(0.92, 1.08, 3)
    r, g, b = np.minimum(np.array(colour) * factors, 0.92).tolist()
    return r, g, b
