"""`MultiTaskDataset`, `Sample` and `EpochSampler` on a data set made of numbers."""

from dataclasses import replace

import mmengine.dataset.sampler
import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, pseudo_collate
from torch.utils.data import DataLoader

from mtl.datasets import EpochSampler, MultiTaskDataset
from mtl.registry import DATA_SAMPLERS, TASKS, TRANSFORMS
from mtl.structures import MultiTaskSample, TargetKind
from mtl.tasks.base import Task
from mtl.transforms.sample import Sample

KINDS = {"semseg": TargetKind.CLASSES, "normals": TargetKind.VECTORS, "depth": TargetKind.DEPTH}


class FakeTask(Task):
    kind = TargetKind.CLASSES

    def __init__(self, name: str, out_channels: int = 3) -> None:
        super().__init__(name, out_channels, 1.0)


class Shift:
    """Adds a random number to the image."""

    def __init__(self, most: int = 100) -> None:
        self.most = most

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return replace(sample, image=sample.image + np.uint8(rng.integers(self.most)))


class Crop:
    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return replace(sample, image=sample.image[:3, ::2])


class Numbers(MultiTaskDataset):
    """Image i is full of i; only even images have normals."""

    def __len__(self) -> int:
        return 10

    def load(self, index: int) -> Sample:
        image = np.full((4, 6, 3), index, np.uint8)
        image[..., 2] += 7
        targets = {name: KINDS[name].void(4, 6) for name in self.tasks if name != "normals" or index % 2 == 0}
        return Sample(f"number-{index}", image, targets, {name: KINDS[name] for name in self.tasks})


def numbers(*transforms, seed: int = 0) -> Numbers:
    return Numbers({name: FakeTask(name) for name in KINDS}, transforms, seed)


def inputs(items) -> torch.Tensor:
    return torch.stack([item["inputs"] for item in items])


def test_item_is_tensors_with_meta() -> None:
    item = numbers(Crop())[2]
    sample = item["data_samples"]
    assert item["inputs"].shape == (3, 3, 3)
    assert item["inputs"].dtype == torch.uint8
    assert item["inputs"].is_contiguous()
    assert item["inputs"].amax((1, 2)).tolist() == [2, 2, 9]  # RGB, not BGR
    assert isinstance(sample, MultiTaskSample)
    assert (sample.name, sample.ori_shape, sample.img_shape) == ("number-2", (4, 6), (3, 3))
    assert sample.target("semseg").dtype == torch.uint8
    assert sample.target("normals").dtype == torch.float32
    assert sample.target("normals").shape == (4, 6, 3)
    assert sample.target("depth").dtype == torch.float32


def test_missing_label_is_absent() -> None:
    sample = numbers()[1]["data_samples"]
    assert sample.target("normals") is None
    assert set(sample.keys()) == {"gt_semseg", "gt_depth"}


def test_tasks_and_transforms_are_built_from_configs() -> None:
    TASKS.register_module(name="FakeTask", module=FakeTask)
    TRANSFORMS.register_module(name="Shift", module=Shift)
    try:
        dataset = Numbers({"semseg": dict(type="FakeTask", out_channels=5)}, [dict(type="Shift", most=2)])
        with pytest.raises(ValueError, match="out_channels"):
            Numbers({"semseg": dict(type="FakeTask", channels=5)})
    finally:
        del TASKS.module_dict["FakeTask"], TRANSFORMS.module_dict["Shift"]
    assert dataset.tasks["semseg"].name == "semseg"
    assert dataset.tasks["semseg"].out_channels == 5
    assert dataset.pipeline[0].most == 2
    assert dataset.metainfo == {"dataset": "Numbers", "tasks": ("semseg",)}


def test_item_depends_on_seed_epoch_and_index_only() -> None:
    dataset = numbers(Shift())
    items = [(epoch, index) for epoch in range(3) for index in range(10)]
    first = inputs(dataset[key] for key in items)
    again = inputs(numbers(Shift())[key] for key in reversed(items)).flip(0)
    assert torch.equal(first, again)
    expected = [np.random.default_rng((0, e, i)).integers(100) + i for e, i in items]
    assert first[:, 0, 0, 0].tolist() == expected
    assert not torch.equal(first[:10], first[10:20])
    assert not torch.equal(first, inputs(numbers(Shift(), seed=1)[key] for key in items))
    assert torch.equal(dataset[3]["inputs"], dataset[0, 3]["inputs"])
    assert torch.equal(dataset[np.int64(3)]["inputs"], dataset[0, 3]["inputs"])


@pytest.mark.parametrize("workers", [0, 2])
def test_same_items_for_any_number_of_workers(workers: int) -> None:
    dataset = numbers(Shift())
    sampler = EpochSampler(dataset, seed=3)
    loader = DataLoader(
        dataset,
        4,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
        collate_fn=pseudo_collate,
    )
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        loaded = [image for batch in loader for image in batch["inputs"]]
        assert torch.equal(torch.stack(loaded), inputs(dataset[key] for key in list(sampler)))


def test_iteration_ends() -> None:
    assert len(list(numbers())) == 10
    for wrong in (10, -1):
        with pytest.raises(IndexError, match="items 0 to 9"):
            numbers()[wrong]


@pytest.mark.parametrize(
    ("error", "kind"), [(ValueError("no such thing"), ValueError), (OSError("no such thing"), RuntimeError)]
)
def test_errors_name_the_image(error: Exception, kind: type[Exception]) -> None:
    def fail(sample: Sample, rng: np.random.Generator) -> Sample:
        raise error

    with pytest.raises(kind, match="Numbers item 4: no such thing") as caught:
        numbers(fail)[0, 4]
    assert caught.value.__cause__ is error


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        numbers(seed=-1)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("round_up", [True, False])
def test_sampler_order_is_mmengines(monkeypatch, ranks: int, shuffle: bool, round_up: bool) -> None:
    for rank in range(ranks):
        monkeypatch.setattr(mmengine.dataset.sampler, "get_dist_info", lambda rank=rank: (rank, ranks))
        options = dict(dataset=range(10), shuffle=shuffle, seed=5, round_up=round_up)
        ours, theirs = EpochSampler(**options), DefaultSampler(**options)
        assert len(ours) == len(theirs)
        for epoch in (0, 1, 7):
            ours.set_epoch(epoch)
            theirs.set_epoch(epoch)
            assert list(ours) == [(epoch, index) for index in theirs]


def test_sampler_is_registered_and_keeps_its_epoch() -> None:
    sampler = DATA_SAMPLERS.build(dict(type="EpochSampler", dataset=range(4), shuffle=False, seed=None))
    running = iter(sampler)
    sampler.set_epoch(1)
    assert list(running) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert isinstance(sampler.seed, int)
