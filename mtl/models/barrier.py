"""Back-propagation in stages: several losses share what came before them, and only one holds what comes after."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class GradientBarrier:
    """Tensors that several backward passes end in before one goes on through what made them.

    ``leaves`` are the same values, detached; gradients gather there. `backward_through` then runs once through the
    graph of the originals. Equal to one backward pass of the summed losses, with the later graphs freed one by one.
    """

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self.outputs = list(outputs)
        self.leaves = [x.detach().requires_grad_(x.requires_grad) for x in self.outputs]


def backward_through(barriers: Sequence[GradientBarrier]) -> None:
    """One backward pass from what gathered at the leaves of all ``barriers``."""
    pairs = [
        (x, leaf.grad)
        for barrier in barriers
        for x, leaf in zip(barrier.outputs, barrier.leaves, strict=True)
        if leaf.grad is not None
    ]
    if pairs:
        torch.autograd.backward([x for x, _ in pairs], [grad for _, grad in pairs])
