"""What the tasks with one class per pixel share: classes, loss, prediction and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.structures import VOID
from mtl.tasks.base import Reduce, upsample


def class_names(classes: Sequence[str] | int) -> tuple[str, ...]:
    """The names of the classes 0..K-1; a number K gives ``class_0`` .. ``class_<K-1>``."""
    names = [f"class_{i}" for i in range(classes)] if isinstance(classes, int) else list(classes)
    if isinstance(classes, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"classes is a list of names or their number, not {classes!r}")
    if not 2 <= len(names) <= VOID:
        raise ValueError(f"classes: {len(names)} given, valid are 2 to {VOID} (the id {VOID} is void)")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"classes: {', '.join(repeated)} given more than once; every class needs its own name")
    return tuple(names)


def cross_entropy(logits: Tensor, target: Tensor, reduce: Reduce) -> Tensor:
    """Cross-entropy over the labelled pixels, divided by max(their number over all processes, 1).

    Args:
        logits: ``(B, K, h, w)``, upsampled to the target's size first.
        target: ``(B, H, W)`` class ids, 255 void.
    """
    logits = upsample(logits.float(), target.shape[-2:])
    total = F.cross_entropy(logits, target.long(), ignore_index=VOID, reduction="sum")
    return total / reduce((target != VOID).sum()).clamp(min=1)


_HELD = 2**28
"""Logits at the image's size that are in memory at a time, 1 GiB: 21 classes of 12 megapixels."""


def predict_classes(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """``(B, K, h, w)`` logits to ``(B, H, W)`` uint8 class ids; one image, or one class of a large one, at a time."""
    ids = torch.empty(len(logits), *size, dtype=torch.uint8, device=logits.device)
    for image, out in zip(logits.float(), ids, strict=True):
        if len(image) * size[0] * size[1] <= _HELD:
            out.copy_(upsample(image[None], size)[0].argmax(0))
            continue
        best = upsample(image[None, :1], size)[0, 0]
        out.zero_()
        for k in range(1, len(image)):
            values = upsample(image[None, k : k + 1], size)[0, 0]
            out.masked_fill_(values > best, k)  # the first of equal ones stays, as in argmax
            best = torch.maximum(best, values)
    return ids


def class_counts(prediction: Tensor, target: Tensor, num_classes: int) -> dict[str, np.ndarray]:
    """One image's pixels, void apart: ``intersection`` and ``union`` per class ``(K,)``, and how many are ``labelled``.

    All three add up over images.
    """
    labelled = target != VOID
    pairs = target[labelled].long() * num_classes + prediction[labelled].long()
    confusion = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes).cpu().numpy()
    intersection = confusion.diagonal().copy()
    union = confusion.sum(0) + confusion.sum(1) - intersection
    return {"intersection": intersection, "union": union, "labelled": confusion.sum()}


def iou_metrics(statistics: Sequence[Mapping[str, np.ndarray]], classes: Sequence[str]) -> dict[str, float]:
    """``mIoU`` and each ``IoU/<class>`` of the whole set in %.

    A class that is neither predicted nor labelled anywhere in the set has no IoU (NaN) and no part in the mean.
    """
    intersection = np.sum([s["intersection"] for s in statistics], axis=0)
    union = np.sum([s["union"] for s in statistics], axis=0)
    iou = np.full(len(classes), np.nan)
    np.divide(100.0 * intersection, union, out=iou, where=union > 0)
    present = iou[~np.isnan(iou)]
    mean = float(present.mean()) if present.size else float("nan")
    return {"mIoU": mean} | {f"IoU/{name}": float(value) for name, value in zip(classes, iou, strict=True)}
