"""Time and activation memory of a piece of code, measured side by side with another."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


def times(pieces: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, float]:
    """Median seconds of each piece; they take turns, so that a slow moment of the machine falls on all."""
    taken: dict[Key, list[float]] = {name: [] for name in pieces}
    for number in range(rounds + 1):
        for name, piece in pieces.items():
            _finish()
            start = time.perf_counter()
            piece()
            _finish()
            if number:  # the first round warms up
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def peak_memory(piece: Callable[[], object]) -> float:
    """MB that autograd holds for backward passes at the worst moment of ``piece``, parameters left out."""
    held: dict[int, tuple[int, int]] = {}  # storage to its size and the number of its holders
    now = worst = 0

    class Held:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal now, worst
            self.tensor = tensor
            storage = tensor.untyped_storage()
            self.key = storage.data_ptr()
            size, holders = held.get(self.key, (storage.nbytes(), 0))
            now += 0 if holders else size
            worst = max(worst, now)
            held[self.key] = size, holders + 1

        def __del__(self) -> None:
            nonlocal now
            size, holders = held[self.key]
            now -= size if holders == 1 else 0
            held[self.key] = size, holders - 1

    def pack(tensor: Tensor) -> Tensor | Held:
        return tensor if isinstance(tensor, torch.nn.Parameter) else Held(tensor)

    def unpack(packed: Tensor | Held) -> Tensor:
        return packed.tensor if isinstance(packed, Held) else packed

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        piece()
    return worst / 2**20


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
