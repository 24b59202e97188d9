"""Colour, blur and noise: albumentations' transforms of the image alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import albumentations as A
import numpy as np

from mtl.registry import TRANSFORMS, check_arguments, choices
from mtl.transforms.sample import Sample

_PIXEL_LEVEL = {
    name: kind
    for name, kind in vars(A).items()
    if isinstance(kind, type) and issubclass(kind, A.ImageOnlyTransform) and kind is not A.ImageOnlyTransform
}


def _built(config: Mapping[str, Any]) -> A.ImageOnlyTransform:
    arguments = dict(config)
    name = arguments.pop("type", None)
    if name not in _PIXEL_LEVEL:
        reason = "moves pixels, which the targets would not follow" if hasattr(A, str(name)) else "is unknown"
        raise ValueError(
            f"Photometric: the albumentations transform {name!r} {reason}; {choices(_PIXEL_LEVEL, str(name))}"
        )
    check_arguments(_PIXEL_LEVEL[name], arguments, f"albumentations.{name}")
    return _PIXEL_LEVEL[name](**arguments)


@TRANSFORMS.register_module()
class Photometric:
    """Change the image's colours, one albumentations transform after the other; the targets stay as they are.

    Args:
        transforms: configs of albumentations' pixel-level transforms, such as
            ``dict(type="ColorJitter", brightness=(0.8, 1.2), p=0.5)``. Albumentations' own default is p = 0.5.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        self.transforms = [_built(config) for config in transforms]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with another image ``(H, W, 3)`` uint8; `ValueError` where a transform made something else."""
        image = sample.image
        for transform in self.transforms:
            transform.set_random_seed(int(rng.integers(2**31)))
            image = transform(image=image)["image"]
        if image.dtype != np.uint8 or image.shape != sample.image.shape:
            raise ValueError(f"Photometric: {self.transforms} gave {image.dtype} {image.shape}, not uint8 (H, W, 3)")
        return replace(sample, image=image)
