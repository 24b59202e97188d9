"""What the tasks with one logit per pixel share: the balanced loss and the picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.structures import VOID
from mtl.tasks.base import Reduce, upsample
from mtl.tasks.colours import GREY, heat


def balanced_cross_entropy(logits: Tensor, target: Tensor, reduce: Reduce, w: float | None = None) -> Tensor:
    """[w Σ_pos + (1 - w) Σ_neg] / all of the binary cross-entropy, void pixels apart.

    Args:
        logits: ``(B, 1, h, w)``, upsampled to the target's size first.
        target: ``(B, H, W)``: 0, 1 and 255 (void).
        w: weight of the positives; None takes negatives / all, both of the whole batch over all processes.
    """
    logits = upsample(logits.float(), target.shape[-2:])[:, 0]
    positive, labelled = target == 1, target != VOID
    negatives, pixels = reduce(torch.stack([(labelled & ~positive).sum(), labelled.sum()]))
    pixels = pixels.clamp(min=1)
    share = negatives / pixels if w is None else torch.full_like(logits[:0].sum(), w)
    weight = torch.where(positive, share, 1 - share) * labelled
    total = F.binary_cross_entropy_with_logits(logits, positive.float(), weight, reduction="sum")
    return total / pixels


def predict_probability(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """``(B, 1, h, w)`` logits to ``(B, H, W)`` float32 probabilities."""
    return upsample(logits.float(), size)[:, 0].sigmoid()


def draw_binary(value: np.ndarray) -> np.ndarray:
    """A target (integers) or probabilities (floats) ``(H, W)`` in the colours of a heat map, void grey."""
    if np.issubdtype(value.dtype, np.floating):
        return heat(value)
    picture = heat((value == 1).astype(np.float32))
    picture[value == VOID] = GREY
    return picture


def binary_legend(positive: str) -> list[tuple[str, tuple[int, int, int]]]:
    (low, high) = heat(np.array([[0.0, 1.0]]))[0].tolist()
    return [("background", tuple(low)), (positive, tuple(high))]
