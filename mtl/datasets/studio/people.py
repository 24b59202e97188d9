"""People: a skeleton posed by angles, dressed in ellipsoids and frustums."""

from __future__ import annotations

import numpy as np

from mtl.datasets.studio.materials import Material, hsv, pick, tint
from mtl.datasets.studio.solids import ELLIPSOID, Solids, frames, join, oriented, rods, upright

PART_CLASSES = ("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg")
HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)

SKIN, HAIR, SHIRT, SLEEVE, TROUSERS, SHIN, SHOES, EYES = range(8)
"""Indices into the materials of a `wardrobe`."""

# Degrees: for the left arm, right arm, left leg, right leg the swing (forward) and the spread (outward) of the upper
# and of the lower half, 0 hanging down and 180 up; and the body's lean forward.
POSES: dict[str, tuple[float, list[list[float]]]] = {
    "stand": (0, [[4, 10, 14, 6], [4, 10, 14, 6], [2, 4, -2, 4], [0, 4, -2, 4]]),
    "hands on hips": (0, [[-12, 45, 12, -50], [-12, 45, 12, -50], [0, 8, -2, 8], [0, 8, -2, 8]]),
    "walk": (3, [[-28, 8, -5, 6], [26, 8, 50, 4], [26, 3, 10, 3], [-16, 3, -38, 3]]),
    "run": (14, [[-50, 12, 35, 0], [35, 12, 115, -10], [58, 3, -25, 3], [-18, 3, -85, 3]]),
    "raise": (0, [[170, -12, 175, -4], [170, -12, 175, -4], [2, 6, -2, 6], [0, 6, -2, 6]]),
    "wave": (0, [[4, 10, 14, 6], [0, 80, 0, 160], [2, 5, -2, 5], [0, 5, -2, 5]]),
    "reach": (4, [[4, 10, 16, 6], [80, 5, 88, 0], [12, 4, 4, 4], [-10, 4, -14, 4]]),
    "sit": (2, [[28, 10, 70, -8], [28, 10, 70, -8], [86, 6, 4, 4], [86, 6, 0, 4]]),
}
SIT = "sit"
SEAT = 0.245
"""Height of a sitter's seat, in body heights."""


def wardrobe(rng: np.random.Generator) -> list[Material]:
    """A person's materials, in the order of the indices above."""
    skin = Material(hsv(rng.uniform(0.04, 0.08), rng.uniform(0.3, 0.55), rng.uniform(0.45, 0.95)), grain=0.03)
    hair = Material(hsv(rng.uniform(0.03, 0.12), rng.uniform(0.2, 0.6), pick(rng, [0.14, 0.25, 0.4, 0.65])), grain=0.3)
    pattern = pick(rng, ["plain", "plain", "stripes", "checker", "gradient", "marble"])
    shirt = Material(tint(rng), tint(rng, (0.0, 0.4), (0.6, 0.95)), pattern, rng.uniform(0.08, 0.2), grain=0.12)
    trousers = Material(tint(rng, (0.1, 0.5), (0.2, 0.7)), grain=0.15)
    shoes = Material(tint(rng, (0.0, 0.5), (0.12, 0.9)), gloss=0.2)
    sleeve = shirt if rng.random() < 0.5 else skin
    shin = skin if rng.random() < 0.3 else trousers
    return [skin, hair, shirt, sleeve, trousers, shin, shoes, Material((0.01, 0.01, 0.015), grain=0, gloss=0.5)]


def limb_directions(angles: np.ndarray) -> np.ndarray:
    """Unit vectors ``(4, 2, 3)`` of the halves of the four limbs; x to the body's left, y up, z forward."""
    swing, spread = np.radians(angles.reshape(4, 2, 2)).transpose(2, 0, 1)
    side = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    return np.stack([side * np.sin(spread), -np.cos(spread) * np.cos(swing), np.cos(spread) * np.sin(swing)], -1)


# Head, hair, chest, belly and hips: height along the spine, offset to the front, half sizes; in body heights.
_TRUNK = np.array(
    [
        [0.395, 0.012, 0.048, 0.067, 0.056],
        [0.407, -0.004, 0.053, 0.067, 0.060],
        [0.200, 0.000, 0.098, 0.125, 0.062],
        [0.090, 0.004, 0.085, 0.120, 0.062],
        [0.000, 0.000, 0.092, 0.062, 0.066],
    ]
)
_TRUNK_MATERIAL = [SKIN, HAIR, SHIRT, SHIRT, TROUSERS]
_TRUNK_PART = [HEAD, HEAD, TORSO, TORSO, TORSO]

# Of the arms and the legs, left and right: the radii at shoulder and hip, elbow and knee, wrist and ankle; the half
# sizes of hands and feet.
_RADII = np.array([[0.036, 0.036, 0.055, 0.055], [0.026, 0.026, 0.038, 0.038], [0.018, 0.018, 0.025, 0.025]])
_TIPS = np.array([[0.022, 0.045, 0.016]] * 2 + [[0.03, 0.072, 0.03]] * 2)
_UPPER, _LOWER = [UPPER_ARM] * 2 + [UPPER_LEG] * 2, [LOWER_ARM] * 2 + [LOWER_LEG] * 2
_CLOTH = [SLEEVE] * 2 + [SHIN] * 2
_BALL_MATERIAL = [SHIRT] * 2 + [TROUSERS] * 2 + _CLOTH + [EYES] * 2
_BALL_PART = _UPPER + _LOWER + [HEAD] * 2
_ROD_MATERIAL = [SLEEVE] * 2 + [TROUSERS] * 2 + _CLOTH + [SKIN]
_ROD_PART = _UPPER + _LOWER + [TORSO]


def person(rng: np.random.Generator, pose: str, height: float, girth: float) -> Solids:
    """A person with the feet on y = 0, facing z; materials are indices into a `wardrobe`.

    Args:
        pose: one of ``POSES``; jittered.
        height: metres.
        girth: width of body and limbs relative to the average.
    """
    lean, angles = POSES[pose]
    limbs = np.array(angles, float)
    if rng.random() < 0.5:
        limbs = limbs[[1, 0, 3, 2]]
    limbs += rng.normal(0, 5, limbs.shape)
    reach = limb_directions(limbs) * np.array([0.17, 0.15, 0.245, 0.235])[[[0, 1], [0, 1], [2, 3], [2, 3]], None]

    lean = np.radians(lean + rng.normal(0, 3))
    side, spine = np.array([1.0, 0.0, 0.0]), np.array([0.0, np.cos(lean), np.sin(lean)])
    front = np.cross(side, spine)
    sides = np.array([[1.0], [-1.0]]) * side
    thin = 0.5 + 0.5 * girth
    trunk = _TRUNK[:, 2:] * np.where(np.equal(_TRUNK_PART, TORSO)[:, None], [girth, 1.0, girth], 1.0)

    # joints: left and right shoulder, left and right hip; then elbows and knees; then wrists and ankles
    width = np.array([0.075 + 0.035 * girth] * 2 + [0.052 * girth] * 2)
    roots = sides[[0, 1, 0, 1]] * width[:, None] + spine * [[0.275], [0.275], [0.0], [0.0]]
    bends = roots + reach[:, 0]
    ends = bends + reach[:, 1]
    swing = np.radians(limbs[2:, 2])
    tips = np.concatenate([reach[:2, 1] / 0.15, np.stack([0 * swing, np.sin(swing), np.cos(swing)], 1)])

    root_radius, bend_radius, end_radius = thin * _RADII
    root_radius[2:] *= girth / thin
    neck = [spine * 0.27, spine * 0.36 + front * 0.006]
    eyes = spine * 0.401 + front * 0.064 + sides * 0.020
    body = np.broadcast_to(np.stack([side, spine, front]), (5, 3, 3))
    balls = np.concatenate([roots, bends, eyes])
    radii = np.concatenate([root_radius, bend_radius, [0.008, 0.008]])
    pieces = [
        oriented(ELLIPSOID, _TRUNK[:, :2] @ [spine, front], body, trunk, _TRUNK_MATERIAL, _TRUNK_PART),
        upright(ELLIPSOID, balls, radii[:, None] * [1, 1, 1], _BALL_MATERIAL, _BALL_PART),
        rods(
            np.concatenate([roots, bends, neck[:1]]),
            np.concatenate([bends, ends, neck[1:]]),
            np.concatenate([root_radius, bend_radius, [0.032 * thin]]),
            np.concatenate([bend_radius, end_radius, [0.026 * thin]]),
            _ROD_MATERIAL,
            _ROD_PART,
        ),
        oriented(ELLIPSOID, ends + tips * 0.033, frames(tips), _TIPS, [SKIN, SKIN, SHOES, SHOES], _LOWER),
    ]
    return join(pieces).on_floor().scaled(height)
