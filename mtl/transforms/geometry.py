"""The geometric transforms of the recipes: `RandomAugment` for training, `Resize` for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import albumentations as A
import cv2
import numpy as np

from mtl.registry import TRANSFORMS
from mtl.structures import TargetKind
from mtl.transforms.sample import Sample
from mtl.transforms.warp import Warp, move_lines, resizing, shrink


def _checked_size(size: Sequence[int], owner: str) -> tuple[int, int]:
    numbers = tuple(size) if isinstance(size, Sequence) else ()
    if len(numbers) != 2 or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise ValueError(f"{owner} needs size=(H, W), two positive integers; got {size!r}")
    return numbers[0], numbers[1]


@TRANSFORMS.register_module()
class RandomAugment:
    """The reference recipe of dense multi-task training: flip, rotation with zoom, resize to a fixed size.

    All in one warp: the image is interpolated once (cubic, with area averaging along the axes that get smaller), the
    targets take the nearest pixel. The fixed size does not keep the aspect ratio. Outside the turned or shrunk image,
    the image is black and every target void. Vectors turn and flip with the image, depth is divided by the zoom.

    Args:
        size: (H, W) of the output.
        flip: probability of a left-right flip.
        rotate: the angle is uniform in [-rotate, rotate] degrees, about the image's centre.
        scale: the zoom is uniform in this range; above 1 enlarges.
    """

    def __init__(
        self,
        size: Sequence[int],
        flip: float = 0.5,
        rotate: float = 20.0,
        scale: Sequence[float] = (0.75, 1.25),
    ) -> None:
        if not 0 <= flip <= 1:
            raise ValueError(f"RandomAugment: flip is a probability in [0, 1]; got {flip}")
        if rotate < 0:
            raise ValueError(f"RandomAugment: rotate is the largest angle in degrees, at least 0; got {rotate}")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ValueError(f"RandomAugment: scale is a range (low, high) of positive zooms; got {scale}")
        size = _checked_size(size, "RandomAugment")
        self.warp = Warp(size, flip, (-float(rotate), float(rotate)), (float(scale[0]), float(scale[1])))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample at `size`; `ValueError` where a target has not the image's size."""
        for name, target in sample.targets.items():
            if target.shape[:2] != sample.image.shape[:2]:
                raise ValueError(
                    f"{sample.name}: the target {name!r} is {target.shape[:2]}, the image {sample.image.shape[:2]} "
                    "(H, W); RandomAugment must come before a transform that resizes the image alone"
                )
        # the prefix keeps a task called "image" apart from the image
        self.warp.add_targets({f"gt_{name}": kind.value for name, kind in sample.kinds.items()})
        self.warp.set_random_seed(int(rng.integers(2**31)))
        done = self.warp(image=sample.image, **{f"gt_{name}": target for name, target in sample.targets.items()})
        return replace(sample, image=done["image"], targets={name: done[f"gt_{name}"] for name in sample.targets})


@TRANSFORMS.register_module()
class Resize:
    """Resize the image to a fixed size, without keeping its aspect ratio.

    Cubic, with area averaging along the axes that get smaller. Targets take the pixel nearest to the centre of theirs
    (OpenCV's ``INTER_NEAREST_EXACT``; its ``INTER_NEAREST``, which public code uses, is half a pixel off).

    Args:
        size: (H, W) of the output.
        targets: resize the targets too, for scores of the protocol ``resized``; False leaves them at the resolution of
            the data set, for the protocol ``original``.
    """

    def __init__(self, size: Sequence[int], targets: bool = False) -> None:
        self.size = _checked_size(size, "Resize")
        self.targets = targets
        self.resize = A.Resize(*self.size, interpolation=cv2.INTER_CUBIC, mask_interpolation=cv2.INTER_NEAREST_EXACT)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.image.shape[:2]
        image = self.resize.apply(shrink(sample.image, (self.size[0] / height, self.size[1] / width)))
        if not self.targets:
            return replace(sample, image=image)
        matrix = resizing((height, width), self.size)
        targets = {
            name: move_lines(target, matrix, self.size)
            if sample.kinds[name] is TargetKind.EDGES
            else self.resize.apply_to_mask(target)
            for name, target in sample.targets.items()
        }
        return replace(sample, image=image, targets=targets)
