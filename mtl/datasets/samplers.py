"""Samplers that tell the data set the epoch."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.dataset import DefaultSampler

from mtl.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's `DefaultSampler` (same order, ranks strided, ``set_epoch``) that yields ``(epoch, index)``.

    The epoch reaches the workers with the index, so that a `MultiTaskDataset` can seed an item's augmentation from
    both; workers that persist over epochs would otherwise never learn of it.

    Args:
        dataset: anything with a length.
        shuffle: a new order each epoch.
        seed: of the order, equal in all processes; None draws one and shares it.
        round_up: pad with the first items so that every process has as many.
    """

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        return ((epoch, index) for index in super().__iter__())
