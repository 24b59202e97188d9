"""The things that have been placed in a scene so far."""

from __future__ import annotations

import numpy as np

from mtl.datasets.studio.materials import Material
from mtl.datasets.studio.objects import Thing
from mtl.datasets.studio.solids import Points, Solids


def footprint(solids: Solids) -> float:
    """Half the side of a square around the y axis that holds the solids, metres."""
    return float((np.abs(solids.centre[:, ::2]) + np.abs(solids.axes[:, :, ::2]).sum(1)).max())


class Cast:
    """Things in world coordinates, with their classes, their materials in one list and their places on the floor.

    Attributes:
        solids, labels: one entry per thing.
        materials: of all things.
        spots: x, z and radius of each thing.
    """

    def __init__(self) -> None:
        self.solids: list[Solids] = []
        self.labels: list[int] = []
        self.materials: list[Material] = []
        self.spots: list[tuple[float, float, float]] = []

    def add(self, thing: Thing, label: int, position: Points, yaw: float) -> None:
        solids, materials = thing
        x, _, z = np.asarray(position, float).tolist()
        self.solids.append(solids.placed(position, yaw).with_materials_from(len(self.materials)))
        self.labels.append(label)
        self.materials += materials
        self.spots.append((x, z, footprint(solids)))

    def free_spot(
        self, rng: np.random.Generator, radius: float, depth: float, half_width: float
    ) -> tuple[float, float, float] | None:
        """A place on the floor ``depth`` metres or a little more before the camera, or None where all is taken.

        ``half_width`` is that of the band of places, in metres per metre of depth.
        """
        for _ in range(12):
            x, z = rng.uniform(-half_width, half_width) * depth, -depth
            if all((x - a) ** 2 + (z - b) ** 2 > (radius + r) ** 2 for a, b, r in self.spots):
                return x, 0.0, z
            depth += 0.03
        return None
