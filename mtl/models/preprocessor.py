"""From the loader's list of images to one normalised batch on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mtl.registry import MODELS
from mtl.structures import MultiTaskSample


@MODELS.register_module()
class MultiTaskPreprocessor(BaseDataPreprocessor):
    """Normalise, pad to one size that the encoder takes, stack.

    Args:
        mean: per channel (RGB), of images in 0..1.
        std: likewise.
        divisor: sides of the batch are multiples of it; images sit in the top left corner, padding is zero after
            normalisation. A sample's ``img_shape`` says how much of it is image.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], divisor: int = 32) -> None:
        super().__init__()
        self.divisor = divisor
        self.register_buffer("mean", 255 * torch.tensor(mean).view(-1, 1, 1), False)
        self.register_buffer("std", 255 * torch.tensor(std).view(-1, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """``inputs`` as uint8 ``(3, H_i, W_i)`` to float32 ``(B, 3, H, W)``; samples to the device."""
        data = self.cast_data(data)
        images: list[Tensor] = list(data["inputs"])
        samples: list[MultiTaskSample] = list(data.get("data_samples") or [MultiTaskSample() for _ in images])
        for image, sample in zip(images, samples, strict=True):
            shape = tuple(image.shape[-2:])
            sample.set_metainfo({"img_shape": shape, "ori_shape": sample.get("ori_shape", shape)})
        H, W = (self._up(max(image.shape[axis] for image in images)) for axis in (-2, -1))
        batch = [self._pad((image.float() - self.mean) / self.std, H, W) for image in images]
        return {"inputs": torch.stack(batch), "data_samples": samples}

    def _up(self, side: int) -> int:
        return -(-side // self.divisor) * self.divisor

    @staticmethod
    def _pad(image: Tensor, H: int, W: int) -> Tensor:
        return F.pad(image, (0, W - image.shape[-1], 0, H - image.shape[-2]))
