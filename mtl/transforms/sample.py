"""The image and its targets on their way from the disk to the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtl.structures import TargetKind


@dataclass
class Sample:
    """One image with the targets that it has; transforms take it and return it.

    Args:
        name: image id, for messages, pictures and result files.
        image: ``(H, W, 3)`` uint8 RGB.
        targets: task name to array, ``(H, W)`` or ``(H, W, 3)`` as its kind says; a missing label has no entry.
        kinds: task name to kind, for at least the tasks in ``targets``.
    """

    name: str
    image: np.ndarray
    targets: dict[str, np.ndarray]
    kinds: dict[str, TargetKind]
