"""Scenes drawn at random."""

from __future__ import annotations

import numpy as np

from mtl.datasets.studio.cast import Cast, footprint
from mtl.datasets.studio.materials import pick
from mtl.datasets.studio.objects import OBJECTS, chair
from mtl.datasets.studio.people import POSES, SEAT, SIT, person, wardrobe
from mtl.datasets.studio.scene import PERSON, SCENE_CLASSES, Camera, Light, Scene
from mtl.datasets.studio.sets import room, street
from mtl.datasets.studio.solids import join, yaw_matrix


def compose(rng: np.random.Generator) -> Scene:
    """A room or a street with up to three people and one to five objects.

    Salient are all people and the one object nearest to the camera, which stands 0.4 m or more before the next and
    near the picture's middle.
    """
    focal, height, near = rng.uniform([1.0, 1.0, 1.3], [1.35, 1.5, 1.8]).tolist()
    cast = Cast()
    _add_objects(cast, rng, near + rng.uniform(0.3, 0.7), 1 / focal)
    _add_people(cast, rng, 1 / focal)
    labels = np.array(cast.labels)
    depth = np.where(labels == PERSON, np.inf, [-z for _, z, _ in cast.spots])
    salient = (labels == PERSON) | (depth == depth.min())
    planes, surfaces = (room if rng.random() < 0.65 else street)(cast, rng)

    labels = np.array(cast.labels)
    salient = np.concatenate([salient, np.zeros(len(labels) - len(salient), bool)])
    sizes = [len(solids) for solids in cast.solids]
    return Scene(
        join(cast.solids),
        np.repeat(labels, sizes),
        np.repeat(salient, sizes),
        planes,
        (*surfaces, *cast.materials),
        Camera.above(height, np.arctan(height / near) - np.arctan(0.5 / focal), focal),
        Light(direction(turn=rng.uniform(-1.8, 1.8), rise=rng.uniform(0.75, 1.25))),
    )


def direction(turn: float, rise: float) -> np.ndarray:
    """The unit vector ``turn`` radians from +z about the y axis and ``rise`` radians above the horizon."""
    return np.array([np.cos(rise) * np.sin(turn), np.sin(rise), np.cos(rise) * np.cos(turn)])


def _add_objects(cast: Cast, rng: np.random.Generator, depth: float, width: float) -> None:
    """From near to far; ``width`` is the picture's, in metres per metre of depth."""
    for i in range(int(rng.integers(1, 6))):
        name = pick(rng, list(OBJECTS))
        thing = OBJECTS[name](rng)
        spot = cast.free_spot(rng, footprint(thing[0]), depth, (0.45 if i else 0.3) * width)
        if spot is not None:
            cast.add(thing, SCENE_CLASSES.index(name), spot, rng.uniform(0, 2 * np.pi))
        depth += rng.uniform(0.4, 1.0)


def _add_people(cast: Cast, rng: np.random.Generator, width: float) -> None:
    """Sitters bring their chair, and stay behind the nearest object."""
    nearest = -cast.spots[0][1]
    for _ in range(int(rng.choice(4, p=[0.2, 0.4, 0.25, 0.15]))):
        pose = pick(rng, list(POSES))
        height = rng.uniform(1.5, 1.9) if rng.random() < 0.85 else rng.uniform(1.0, 1.4)
        solids = person(rng, pose, height, rng.uniform(0.85, 1.3))
        depth = rng.uniform(1.9, 3.4)
        if pose == SIT:
            depth = max(depth, nearest + 0.6)
        spot = cast.free_spot(rng, 0.45 if pose == SIT else 0.3, depth, 0.4 * width)
        if spot is None:
            continue
        yaw = rng.normal(0, 0.8) if rng.random() < 0.75 else rng.uniform(-np.pi, np.pi)
        if pose == SIT:
            middle = np.array(spot) + 0.09 * yaw_matrix(yaw)[:, 2]
            cast.add(chair(rng, seat=SEAT * height), SCENE_CLASSES.index("chair"), middle, yaw)
        cast.add((solids, wardrobe(rng)), PERSON, spot, yaw)
