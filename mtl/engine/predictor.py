"""Predictions of a trained model on images, from its checkpoint alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image

from mtl.datasets.base import pack
from mtl.datasets.files import read_image, to_rgb
from mtl.engine.rebuild import rebuild
from mtl.registry import choices
from mtl.transforms.geometry import Resize
from mtl.transforms.sample import Sample
from mtl.utils.images import MAX_PIXELS, check_pixels
from mtl.utils.text import reason

ImageLike = str | Path | Image.Image | np.ndarray
"""A file, a Pillow image (turned as its EXIF tag says) or ``(H, W, 3)`` uint8 RGB."""

Prediction = dict[str, np.ndarray]
"""Task to ``(H, W)`` or ``(H, W, 3)``, as its `Task.predict` says, at the image's own size."""


class Predictor:
    """A model that takes images of any size, resizes them as in validation and predicts at their own size.

    Args:
        checkpoint: an adapter file, a merged model (both ``.safetensors``) or a full checkpoint (``.pth``).
        weights: for an adapter file, where the encoder's base weights are instead of where its config says.
        tasks: the tasks to run; None for all.
        device: None for a GPU where there is one, else the CPU. A GPU runs in bfloat16 autocast.
        size: (H, W) of the network's input; None for the encoder's.
        custom_imports: as in a config, modules that register the parts that the checkpoint needs.
        max_pixels: of an image; files of larger ones are not decoded. Pillow has a limit of its own, at twice
            ``PIL.Image.MAX_IMAGE_PIXELS``.

    Attributes:
        tasks: name to `Task` of the tasks that are run, for drawing what they predict.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        weights: str | Path | bool | None = None,
        tasks: Sequence[str] | None = None,
        device: str | torch.device | None = None,
        size: Sequence[int] | None = None,
        custom_imports: Mapping[str, Any] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        _check(checkpoint, "checkpoint", "a path", str, Path)
        _check(weights, "weights", "a path, True, False or None", str, Path, bool, type(None))
        _check(tasks, "tasks", "a list of names, one name or None", Sequence, type(None))
        _check(custom_imports, "custom_imports", "a dict or None", Mapping, type(None))
        self.max_pixels = _count(max_pixels, "max_pixels")
        size = None if size is None else _sides(size)
        self.device = _device(device)
        model, _ = rebuild(checkpoint, weights, custom_imports)
        names = model.task_names if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
        for name in names:
            if name not in model.task_names:
                raise ValueError(f"{str(checkpoint)!r} has no task {name!r}; {choices(model.tasks, str(name))}")
        if not names:
            raise ValueError(f"tasks is empty; {choices(model.tasks)}")
        self.tasks = {name: task for name, task in model.tasks.items() if name in names}
        self.model = model.to(self.device)
        self.resize = Resize(model.encoder.size if size is None else size)
        if any(side % model.encoder.divisor for side in self.resize.size):
            raise ValueError(f"size is multiples of {model.encoder.divisor} for this encoder, not {self.resize.size}")

    @overload
    def __call__(self, images: ImageLike) -> Prediction: ...  # type: ignore[overload-overlap]  # str is a sequence

    @overload
    def __call__(self, images: Sequence[ImageLike]) -> list[Prediction]: ...

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Prediction | list[Prediction]:
        """The prediction of one image, or a list of those of a sequence, which is run as one batch.

        Raises:
            ValueError: an image cannot be read, is too large or is no 8-bit RGB array.
        """
        if isinstance(images, (str, Path, Image.Image, np.ndarray)):
            return self._run([images])[0]
        if not isinstance(images, Sequence) or isinstance(images, (bytes, bytearray)):
            raise ValueError(f"an image is {_IMAGE}, and several are a list of these, not {type(images).__name__}")
        return self._run(list(images)) if len(images) else []

    def predict(self, images: Iterable[ImageLike], batch_size: int = 4) -> Iterator[Prediction]:
        """Each image's prediction in turn; no more than ``batch_size`` images are held at a time."""
        _count(batch_size, "batch_size")
        if not isinstance(images, Iterable) or isinstance(images, (str, bytes, bytearray, np.ndarray, Mapping)):
            raise ValueError(f"images are an iterable of several, each {_IMAGE}, not {type(images).__name__}")
        return self._in_batches(iter(images), batch_size)

    def _in_batches(self, images: Iterator[ImageLike], size: int) -> Iterator[Prediction]:
        while batch := list(islice(images, size)):
            yield from self._run(batch)

    def _run(self, images: Sequence[ImageLike]) -> list[Prediction]:
        items = [self._item(image, f"image {i}") for i, image in enumerate(images)]
        data = {key: [item[key] for item in items] for key in ("inputs", "data_samples")}
        with torch.no_grad():  # in the precision of tools/test.py
            data = self.model.data_preprocessor(data, False)
            samples = self.model.predict(data["inputs"], data["data_samples"], list(self.tasks))
        return [{task: sample.get(f"pred_{task}").cpu().numpy() for task in self.tasks} for sample in samples]

    def _item(self, image: ImageLike, where: str) -> dict[str, Any]:
        """The image as the loader of a validation yields it."""
        name = str(image) if isinstance(image, (str, Path)) else where
        pixels = as_pixels(image, where, self.max_pixels)
        sample = self.resize(Sample(name, pixels, {}, {}), np.random.default_rng(0))
        return pack(sample, pixels.shape[:2])


_IMAGE = "a path, a Pillow image or an array"


def as_pixels(image: ImageLike, where: str = "the image", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB of whatever `Predictor` takes; `ValueError` names the file, or ``where``."""
    if isinstance(image, (str, Path)):
        return read_image(Path(os.path.expanduser(image)), max_pixels)
    if isinstance(image, Image.Image):
        try:
            check_pixels(image.width, image.height, max_pixels)
            return to_rgb(image.copy())
        except Exception as error:  # decoders raise whatever their format's library does
            raise ValueError(f"cannot read {where}: {reason(error)}") from error
    if not isinstance(image, np.ndarray):
        raise ValueError(f"{where} is {_IMAGE}, not {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"{where} is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
    return image


def _check(value: object, name: str, wanted: str, *kinds: type) -> None:
    if not isinstance(value, kinds) or isinstance(value, bytes):
        raise ValueError(f"{name} is {wanted}, not {value!r}")


def _count(value: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is an integer of at least 1, not {value!r}")
    return value


def _sides(size: Sequence[int]) -> tuple[int, int]:
    if not isinstance(size, Sequence) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise ValueError(f"size is two integers, (H, W), not {size!r}")
    return _count(size[0], "the height in size"), _count(size[1], "the width in size")


def _device(device: str | torch.device | None) -> torch.device:
    try:
        chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:  # no driver is an assertion in torch
        raise ValueError(f"the device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error
    return chosen
