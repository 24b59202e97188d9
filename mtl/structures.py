"""What travels between the parts: the kinds of target and the sample that the loader yields."""

from __future__ import annotations

import enum

import numpy as np
from mmengine.structures import BaseDataElement
from torch import Tensor

VOID = 255
"""The class id of pixels without a label."""


class TargetKind(str, enum.Enum):
    """How a dense target is stored and what a geometric transform does to it.

    An array of each kind says where it is void (no label) by itself:

    - ``CLASSES``: ``(H, W)`` uint8 class ids, void = 255; nearest-neighbour resampling. Binary tasks store 0 and 1.
    - ``VECTORS``: ``(H, W, 3)`` float32 unit vectors in camera axes (x right, y up, z to the viewer), void = zeros;
      a rotation or a flip of the image turns the vectors too.
    - ``EDGES``: ``(H, W)`` uint8, 1 on lines one pixel wide, 0 beside them, void = 255; a transform moves the lines and
      draws them anew, thin at every zoom.
    - ``DEPTH``: ``(H, W)`` float32 metres, void = 0; zooming in by s divides it by s.
    """

    CLASSES = "classes"
    VECTORS = "vectors"
    EDGES = "edges"
    DEPTH = "depth"

    def void(self, height: int, width: int) -> np.ndarray:
        """An array of this kind in which no pixel has a label."""
        if self in (TargetKind.CLASSES, TargetKind.EDGES):
            return np.full((height, width), VOID, np.uint8)
        if self is TargetKind.VECTORS:
            return np.zeros((height, width, 3), np.float32)
        return np.zeros((height, width), np.float32)


class MultiTaskSample(BaseDataElement):
    """One image's targets and predictions: data fields ``gt_<task>`` and ``pred_<task>``, and the image's meta.

    Meta: ``name`` (image id), ``ori_shape`` and ``img_shape`` (H, W before and after the transforms). A target that
    the image does not have is absent, never a dummy.
    """

    def target(self, task: str) -> Tensor | None:
        return self.get(f"gt_{task}")

    def set_target(self, task: str, value: Tensor) -> None:
        self.set_data({f"gt_{task}": value})

    def prediction(self, task: str) -> Tensor | None:
        return self.get(f"pred_{task}")

    def set_prediction(self, task: str, value: Tensor) -> None:
        self.set_data({f"pred_{task}": value})
