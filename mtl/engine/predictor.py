"""Predictions of a trained model on images, from its checkpoint alone."""

from __future__ import annotations

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
    ) -> None:
        model, _ = rebuild(checkpoint, weights, custom_imports)
        names = model.task_names if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
        for name in names:
            if name not in model.tasks:
                raise ValueError(f"{str(checkpoint)!r} has no task {name!r}; {choices(model.tasks, str(name))}")
        if not names:
            raise ValueError(f"tasks is empty; {choices(model.tasks)}")
        self.tasks = {name: task for name, task in model.tasks.items() if name in names}
        self.device = _device(device)
        self.model = model.to(self.device)
        self.resize = Resize(model.encoder.size if size is None else tuple(size))
        if any(side % model.encoder.divisor for side in self.resize.size):
            raise ValueError(f"size is multiples of {model.encoder.divisor} for this encoder, not {self.resize.size}")

    @overload
    def __call__(self, images: ImageLike) -> Prediction: ...  # type: ignore[overload-overlap]  # str is a sequence

    @overload
    def __call__(self, images: Sequence[ImageLike]) -> list[Prediction]: ...

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Prediction | list[Prediction]:
        """The prediction of one image, or a list of those of a sequence, which is run as one batch.

        Raises:
            ValueError: an image cannot be read or is no 8-bit RGB array.
        """
        if isinstance(images, (str, Path, Image.Image, np.ndarray)):
            return self._run([images])[0]
        return self._run(list(images)) if len(images) else []

    def predict(self, images: Iterable[ImageLike], batch_size: int = 4) -> Iterator[Prediction]:
        """Each image's prediction in turn; no more than ``batch_size`` images are held at a time."""
        if batch_size < 1:
            raise ValueError(f"batch_size is at least 1, not {batch_size}")
        remaining = iter(images)
        while batch := list(islice(remaining, batch_size)):
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
        pixels = as_pixels(image, where)
        sample = self.resize(Sample(name, pixels, {}, {}), np.random.default_rng(0))
        return pack(sample, pixels.shape[:2])


def as_pixels(image: ImageLike, where: str = "the image") -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB of whatever `Predictor` takes; `ValueError` names the file, or ``where``."""
    if isinstance(image, (str, Path)):
        return read_image(Path(image).expanduser())
    if isinstance(image, Image.Image):
        try:
            return to_rgb(image.copy())
        except Exception as error:  # decoders raise whatever their format's library does
            raise ValueError(f"cannot read {where}: {error}") from error
    if not isinstance(image, np.ndarray):
        raise ValueError(f"{where} is a path, a Pillow image or an array, not {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"{where} is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
    return image


def _device(device: str | torch.device | None) -> torch.device:
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # no driver is an assertion in torch
        raise ValueError(f"the device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error
    return chosen
