"""The sets that scenes are played on: a room or a street. All that they add is background."""

from __future__ import annotations

import numpy as np

from mtl.datasets.studio.cast import Cast
from mtl.datasets.studio.materials import Material, hsv, pick, shade_of, tint
from mtl.datasets.studio.scene import BACKGROUND
from mtl.datasets.studio.solids import BOX, join, upright, yaw_matrix


def room(cast: Cast, rng: np.random.Generator) -> tuple[np.ndarray, list[Material]]:
    """Floor, three walls and a ceiling around the cast, with a skirting, and perhaps a rug and pictures.

    Returns:
        The planes ``(5, 4)`` as `Scene` has them, and their materials.
    """
    yaw = rng.uniform(-0.45, 0.45)
    turn = yaw_matrix(yaw)
    x, z, radius = np.array([*cast.spots, (0.0, 0.0, 0.4)]).T
    normals = np.stack([turn[:, 2], turn[:, 0], -turn[:, 0]])
    distances = (radius - normals[:, ::2] @ np.stack([x, z])).max(1) + rng.uniform([0.1, 0.3, 0.3], [1.5, 2.0, 2.0])
    walls = np.column_stack([normals, distances])
    planes = np.concatenate([[[0.0, 1.0, 0.0, 0.0]], walls, [[0.0, -1.0, 0.0, rng.uniform(2.5, 3.2)]]])

    foot = -normals[0] * distances[0]
    skirting = Material(hsv(0, 0, rng.uniform(0.3, 0.95)))
    cast.add((upright(BOX, [0, 0.05, 0], [20, 0.05, 0.008]), [skirting]), BACKGROUND, foot, yaw)
    if rng.random() < 0.4:
        _rug(cast, rng, yaw)
    _pictures(cast, rng, yaw, foot)
    wall = _wallpaper(rng, turn[:, 0])
    ceiling = Material(hsv(0.1, 0.05, rng.uniform(0.8, 0.97)), grain=0.02)
    return planes, [_floor(rng), wall, wall, wall, ceiling]


def _floor(rng: np.random.Generator) -> Material:
    if rng.random() < 0.6:
        base, pattern = tint(rng, (0.2, 0.5), (0.4, 0.8), (0.05, 0.11)), pick(rng, ["planks", "planks", "plain"])
    else:
        base, pattern = tint(rng, (0, 0.3), (0.4, 0.8)), pick(rng, ["tiles", "checker", "marble", "plain"])
    axis = (1.0, 0.0, 0.0) if pattern == "planks" else (0.0, 1.0, 0.0)
    return Material(base, shade_of(rng, base, 0.5), pattern, rng.uniform(0.25, 0.6), axis)


def _wallpaper(rng: np.random.Generator, along: np.ndarray) -> Material:
    base = tint(rng, (0.02, 0.3), (0.6, 0.95))
    pattern = pick(rng, ["plain", "plain", "stripes", "tiles", "marble"])
    return Material(base, shade_of(rng, base), pattern, rng.uniform(0.2, 0.6), tuple(along.tolist()), grain=0.04)


def _rug(cast: Cast, rng: np.random.Generator, yaw: float) -> None:
    look = Material(tint(rng), tint(rng), pick(rng, ["stripes", "checker", "marble"]), 0.3, (0.0, 0.0, 1.0))
    half = [rng.uniform(0.8, 1.3), 0.005, rng.uniform(0.6, 1.0)]
    spot = [rng.uniform(-0.6, 0.6), 0.0, rng.uniform(-4.0, -2.6)]
    cast.add((upright(BOX, [0, 0.005, 0], half), [look]), BACKGROUND, spot, yaw)


def _pictures(cast: Cast, rng: np.random.Generator, yaw: float, foot: np.ndarray) -> None:
    """Up to three on the back wall, of which ``foot`` is a point on the floor."""
    along = yaw_matrix(yaw)[:, 0]
    left = rng.uniform(-1.8, -0.6)
    for _ in range(int(rng.integers(0, 4))):
        half = rng.uniform(0.2, 0.5, 2)
        paint = Material(tint(rng), tint(rng), pick(rng, ["marble", "gradient", "checker"]), 1.5 * float(half.mean()))
        frame = upright(BOX, [0, 0, 0], [*half, 0.02], 0)
        canvas = upright(BOX, [0, 0, 0], [*half * 0.88, 0.024], 1)
        at = foot + along * (left + half[0]) + [0, rng.uniform(1.4, 1.9), 0]
        cast.add((join([frame, canvas]), [Material(tint(rng, (0.0, 0.5), (0.1, 0.8))), paint]), BACKGROUND, at, yaw)
        left += 2 * half[0] + rng.uniform(0.2, 1.0)


def street(cast: Cast, rng: np.random.Generator) -> tuple[np.ndarray, list[Material]]:
    """Open ground with a row of houses or hedges far behind; returns as `room`."""
    build = _hedge if rng.random() < 0.4 else _house
    left = -16.0
    while left < 16:
        half, look = build(rng)
        at = [left + half[0], 0.0, rng.uniform(-16.0, -11.0)]
        cast.add((upright(BOX, half * [0, 1, 0], half), [look]), BACKGROUND, at, 0.0)
        left += 2 * half[0] + rng.uniform(0.0, 3.0)
    return np.array([[0.0, 1.0, 0.0, 0.0]]), [pick(rng, [_lawn, _asphalt, _sand, _paving])(rng)]


def _hedge(rng: np.random.Generator) -> tuple[np.ndarray, Material]:
    half = rng.uniform([1.5, 0.5, 0.8], [4.0, 1.2, 1.2])
    return half, Material(tint(rng, (0.4, 0.6), (0.25, 0.45), (0.24, 0.36)), grain=0.45)


def _house(rng: np.random.Generator) -> tuple[np.ndarray, Material]:
    half = rng.uniform([2.0, 1.2, 1.0], [4.0, 4.0, 2.0])
    pane = tint(rng, (0.1, 0.4), (0.2, 0.45), (0.5, 0.65))
    return half, Material(tint(rng, (0.1, 0.4), (0.5, 0.85)), pane, "windows", rng.uniform(1.1, 1.8))


def _lawn(rng: np.random.Generator) -> Material:
    base = tint(rng, (0.35, 0.6), (0.4, 0.6), (0.2, 0.3))
    return Material(base, tint(rng, (0.3, 0.5), (0.4, 0.6), (0.14, 0.3)), "marble", 0.6)


def _asphalt(rng: np.random.Generator) -> Material:
    return Material(hsv(0.1, 0.05, rng.uniform(0.4, 0.65)), hsv(0, 0, 0.5), "marble", 1.0)


def _sand(rng: np.random.Generator) -> Material:
    return Material(tint(rng, (0.2, 0.4), (0.7, 0.85), (0.08, 0.13)), hsv(0.1, 0.3, 0.7), "marble", 0.8)


def _paving(rng: np.random.Generator) -> Material:
    return Material(hsv(0.08, 0.08, rng.uniform(0.5, 0.75)), hsv(0.08, 0.1, 0.35), "tiles", rng.uniform(0.4, 0.8))
