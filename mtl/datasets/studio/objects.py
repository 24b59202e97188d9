"""The things that stand around: each builder gives solids on y = 0 around the y axis, and their materials."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mtl.datasets.studio.materials import Material, hsv, pick, shade_of, tint
from mtl.datasets.studio.solids import BOX, ELLIPSOID, FRUSTUM, Solids, frames, join, oriented, rods, upright

Thing = tuple[Solids, list[Material]]


def _varied(rng: np.random.Generator, patterns: list[str], period: float, **look: float) -> Material:
    """A material with a random pattern and random colours."""
    pattern = pick(rng, patterns)
    axis = np.eye(3)[rng.integers(3)]
    base = tint(rng, (0.2, 0.65))
    accent = shade_of(rng, base, 0.6) if rng.random() < 0.5 else tint(rng, (0.0, 0.5), (0.5, 0.95))
    return Material(base, accent, pattern, period * rng.uniform(0.7, 1.4), tuple(axis), **look)


def ball(rng: np.random.Generator) -> Thing:
    radius = rng.uniform(0.13, 0.34)
    turn = frames(rng.standard_normal((1, 3)))
    look = _varied(rng, ["plain", "stripes", "checker", "marble"], radius, gloss=rng.uniform(0.1, 0.5))
    return oriented(ELLIPSOID, [0, radius, 0], turn, [radius] * 3), [look]


def box(rng: np.random.Generator) -> Thing:
    half = rng.uniform([0.15, 0.12, 0.15], [0.42, 0.4, 0.35])
    look = _varied(rng, ["plain", "stripes", "planks", "tiles", "gradient"], 0.25)
    return upright(BOX, half * [0, 1, 0], half), [look]


def barrel(rng: np.random.Generator) -> Thing:
    """A cylinder with two hoops."""
    radius, half = rng.uniform(0.17, 0.32), rng.uniform(0.25, 0.5)
    look = _varied(rng, ["plain", "planks", "marble"], 0.2, gloss=rng.uniform(0, 0.4))
    hoop = Material(tint(rng, (0.0, 0.3), (0.15, 0.7)), gloss=0.3)
    hoops = [[0, half * 0.5, 0], [0, half * 1.5, 0]]
    solids = [
        upright(FRUSTUM, [0, half, 0], [radius, half, radius], 0),
        upright(FRUSTUM, hoops, [radius * 1.04, half * 0.09, radius * 1.04], 1),
    ]
    return join(solids), [look, hoop]


def cone(rng: np.random.Generator) -> Thing:
    """A traffic cone: striped, on a square foot."""
    half = rng.uniform(0.2, 0.42)
    radius = half * rng.uniform(0.5, 0.75)
    look = Material(
        tint(rng, (0.6, 0.9), (0.6, 0.95)), hsv(0, 0, rng.uniform(0.8, 0.97)), "stripes", half * rng.uniform(0.5, 1.3)
    )
    foot = Material(tint(rng, (0.1, 0.7), (0.15, 0.6)))
    solids = [
        upright(FRUSTUM, [0, half, 0], [radius, half, radius], 0, taper=0.12),
        upright(BOX, [0, 0.02, 0], [radius * 1.25, 0.02, radius * 1.25], 1),
    ]
    return join(solids), [look, foot]


def lamp(rng: np.random.Generator) -> Thing:
    """A floor lamp: foot, pole and a shade that glows."""
    height, shade = rng.uniform(1.0, 1.7), rng.uniform(0.16, 0.26)
    metal = Material(tint(rng, (0.0, 0.4), (0.1, 0.7)), grain=0.02, gloss=0.5)
    cloth = Material(tint(rng, (0.1, 0.5), (0.75, 0.97), (0.03, 0.17)), grain=0.05, glow=rng.uniform(0.1, 0.7))
    solids = [
        upright(FRUSTUM, [0, 0.02, 0], [0.16, 0.02, 0.16], 0),
        upright(FRUSTUM, [0, height / 2, 0], [0.016, height / 2, 0.016], 0),
        upright(FRUSTUM, [0, height, 0], [shade, shade * 0.75, shade], 1, taper=rng.uniform(0.5, 0.8)),
    ]
    return join(solids), [metal, cloth]


def chair(rng: np.random.Generator, seat: float = 0.0) -> Thing:
    """Four legs, a seat whose upper side is ``seat`` metres high (0: random), and a back at −z."""
    seat = seat or rng.uniform(0.4, 0.48)
    half, back = rng.uniform(0.19, 0.24), rng.uniform(0.2, 0.28)
    wood = _varied(rng, ["plain", "plain", "planks"], 0.15)
    cushion = _varied(rng, ["plain", "stripes", "checker"], 0.12) if rng.random() < 0.5 else wood
    feet = np.array([[-1, 0, -1], [1, 0, -1], [-1, 0, 1], [1, 0, 1]]) * (half - 0.025)
    up = np.array([0.0, seat, 0.0])
    posts = feet[:2] + up
    solids = [
        upright(BOX, up - [0, 0.03, 0], [half, 0.03, half], 1),
        upright(BOX, [0, seat + 0.1 + back, 0.02 - half], [half, back - 0.02, 0.02], 1),
        rods(feet, feet + up, 0.02, 0.024, 0),
        rods(posts, posts + up * (2 * back / seat), 0.018, 0.018, 0),
    ]
    return join(solids), [wood, cushion]


def plant(rng: np.random.Generator) -> Thing:
    """A pot with leaves that spread from its middle."""
    pot, height = rng.uniform(0.13, 0.2), rng.uniform(0.35, 0.8)
    clay = _varied(rng, ["plain", "plain", "stripes", "gradient"], 0.2)
    leaf = Material(tint(rng, (0.45, 0.75), (0.25, 0.6), (0.22, 0.4)), grain=0.35)
    n = int(rng.integers(9, 15))
    turn, rise = np.arange(n) * 2.4 + rng.uniform(0, 6), np.radians(rng.uniform(20, 85, n))
    ways = np.stack([np.cos(rise) * np.cos(turn), np.sin(rise), np.cos(rise) * np.sin(turn)], 1)
    length = height * rng.uniform(0.32, 0.5, (n, 1))
    half = np.concatenate([length * 0.28, length, length * 0.28], 1)
    solids = [
        upright(FRUSTUM, [0, pot * 0.9, 0], [pot * 0.75, pot * 0.9, pot * 0.75], 0, taper=1.35),
        oriented(ELLIPSOID, ways * length + [0, pot * 1.7, 0], frames(ways), half, 1),
    ]
    return join(solids), [clay, leaf]


OBJECTS: dict[str, Callable[[np.random.Generator], Thing]] = {
    "ball": ball,
    "box": box,
    "barrel": barrel,
    "cone": cone,
    "lamp": lamp,
    "chair": chair,
    "plant": plant,
}
