"""What every dense task promises: a share of the loss per process, zero where nothing is labelled, float32 inside."""

import numpy as np
import pytest
import torch

from mtl.registry import TASKS
from mtl.structures import TargetKind
from mtl.tasks import Task

SIZE = (13, 17)
OPTIONS = {"SemanticSegmentation": {"classes": 5}}
ALL = [TASKS.build(dict(type=kind, **OPTIONS.get(kind, {}))) for kind in sorted(TASKS.module_dict)]


def make_target(task: Task, batch: int, seed: int = 0) -> torch.Tensor:
    """Random targets of the task's kind, about a fifth of the pixels void."""
    rng = np.random.default_rng(seed)
    void = rng.random((batch, *SIZE)) < 0.2
    if task.kind is TargetKind.VECTORS:
        vectors = rng.normal(size=(batch, *SIZE, 3))
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        return torch.from_numpy(np.where(void[..., None], 0, vectors).astype(np.float32))
    if task.kind is TargetKind.DEPTH:
        return torch.from_numpy(np.where(void, 0, rng.uniform(0.5, 9, void.shape)).astype(np.float32))
    ids = rng.integers(0, max(task.out_channels, 2), (batch, *SIZE))
    return torch.from_numpy(np.where(void, 255, ids).astype(np.uint8))


def is_void(task: Task, target):
    if task.kind in (TargetKind.CLASSES, TargetKind.EDGES):
        return target == 255
    return (target == 0).all(-1) if task.kind is TargetKind.VECTORS else target == 0


def make_logits(task: Task, batch: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, task.out_channels, 4, 5, generator=generator).requires_grad_()


each_task = pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)


@pytest.mark.parametrize(
    ("config", "name", "channels", "weight"),
    [
        (dict(type="SemanticSegmentation", classes=21), "semseg", 21, 1.0),
        (dict(type="HumanParts"), "human_parts", 7, 2.0),
        (dict(type="Saliency"), "saliency", 1, 5.0),
        (dict(type="SurfaceNormals"), "normals", 3, 10.0),
        (dict(type="Edge"), "edge", 1, 50.0),
        (dict(type="Depth"), "depth", 1, 1.0),
    ],
)
def test_configs_build_with_the_reference_weights(config, name, channels, weight):
    task = TASKS.build(config)
    assert (task.name, task.out_channels, task.loss_weight) == (name, channels, weight)
    assert TASKS.build(dict(config, name="other", loss_weight=0.5)).name == "other"


@each_task
@pytest.mark.parametrize("cut", [1, 3, 0])
def test_shares_of_two_processes_add_up_to_the_whole_batch(task, cut):
    logits, target = make_logits(task, 4), make_target(task, 4)
    task.loss(logits, target).backward()

    parts = [(logits.detach()[s].clone().requires_grad_(), target[s]) for s in (slice(0, cut), slice(cut, 4))]
    counts = []
    for part, part_target in parts:
        task.loss(part, part_target, lambda count: counts.append(count) or count)
    shares = [task.loss(part, part_target, lambda count: counts[0] + counts[1]) for part, part_target in parts]
    sum(shares).backward()

    torch.testing.assert_close(sum(shares), task.loss(logits, target), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(torch.cat([part.grad for part, _ in parts]), logits.grad, rtol=1e-4, atol=1e-7)


@each_task
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_without_labels_the_loss_and_its_gradient_are_zero(task, batch):
    logits = make_logits(task, batch)
    void = torch.from_numpy(task.kind.void(*SIZE)).expand(batch, *task.kind.void(*SIZE).shape)
    loss = task.loss(logits, void)
    loss.backward()
    assert loss.shape == ()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@each_task
def test_void_pixels_get_no_gradient(task):
    logits, target = make_logits(task, 1), make_target(task, 1)
    logits = torch.nn.functional.interpolate(logits.detach(), SIZE).requires_grad_()
    task.loss(logits, target).backward()
    void = is_void(task, target)
    assert void.any()
    assert (logits.grad.abs().sum(1)[void] == 0).all()
    assert logits.grad.isfinite().all()
    assert logits.grad.any()


@each_task
def test_the_loss_is_float32_under_autocast(task):
    logits, target = make_logits(task, 2).detach().bfloat16(), make_target(task, 2)
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.loss(logits, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, task.loss(logits.float(), target))


@each_task
def test_all_zero_logits_give_a_gradient_that_float16_can_hold(task):
    logits = torch.zeros(2, task.out_channels, 4, 5, requires_grad=True)
    task.loss(logits, make_target(task, 2)).backward()
    assert logits.grad.abs().max() < torch.finfo(torch.float16).max


@each_task
@pytest.mark.parametrize("batch", [0, 3])
def test_predictions_come_at_the_size_asked_for(task, batch):
    prediction = task.predict(make_logits(task, batch).bfloat16(), SIZE)
    vectors = task.kind is TargetKind.VECTORS
    assert prediction.shape == (batch, *SIZE, 3) if vectors else (batch, *SIZE)
    assert prediction.dtype == (torch.uint8 if task.out_channels > 3 else torch.float32)


@each_task
def test_metrics_of_an_empty_set_are_nan_under_the_usual_names(task):
    prediction, target = task.predict(make_logits(task, 1).detach(), SIZE)[0], make_target(task, 1)[0]
    metrics = task.summarise([task.measure(prediction, target)])
    empty = task.summarise([])
    assert list(empty) == list(metrics)
    assert next(iter(metrics)) == task.metric
    assert all(np.isnan(value) for value in empty.values())
    assert all(type(value) is float for value in metrics.values())


@each_task
def test_an_image_without_labels_changes_no_metric(task):
    predictions = task.predict(make_logits(task, 2).detach(), SIZE)
    target = make_target(task, 1)[0]
    void = torch.from_numpy(task.kind.void(*SIZE))
    labelled, unlabelled = task.measure(predictions[0], target), task.measure(predictions[1], void)
    both = [labelled] if unlabelled is None else [labelled, unlabelled]
    np.testing.assert_equal(task.summarise(both), task.summarise([labelled]))


@each_task
def test_pictures_are_rgb_with_grey_void_and_the_legend_names_their_colours(task):
    target, prediction = make_target(task, 1)[0].numpy(), task.predict(make_logits(task, 1).detach(), SIZE)[0].numpy()
    picture = task.draw(target)
    assert picture.shape == task.draw(prediction).shape == (*SIZE, 3)
    assert picture.dtype == task.draw(prediction).dtype == np.uint8
    void = is_void(task, target)
    assert (picture[void] == 127).all()
    assert not (picture[~void] == 127).all(-1).any()

    legend = task.legend()
    values = {TargetKind.VECTORS: np.eye(3), TargetKind.DEPTH: np.array([1.0, 2, 4, 8, 20])}
    drawn = task.draw(values.get(task.kind, np.arange(len(legend)))[None])
    assert [colour for _, colour in legend] == [tuple(pixel) for pixel in drawn[0].tolist()]
    assert len(set(legend)) == len(legend)


@each_task
def test_overlays_cover_the_image_between_not_at_all_and_wholly(task):
    target, prediction = make_target(task, 1)[0].numpy(), task.predict(make_logits(task, 1).detach(), SIZE)[0].numpy()
    for value in (target, prediction):
        share = task.coverage(value)
        assert share.shape == SIZE
        assert share.dtype == np.float32
        assert share.min() >= 0
        assert 0 < share.max() <= 1
    if task.kind in (TargetKind.CLASSES, TargetKind.EDGES):
        assert (task.coverage(target)[is_void(task, target)] == 0).all()
    if task.out_channels == 1 and task.kind is not TargetKind.DEPTH:
        # a photograph under "surely not" stays as it is
        assert task.coverage(np.array([[0.0, 0.25, 1.0]], np.float32)).tolist() == [[0.0, 0.25, 1.0]]


@each_task
def test_a_perfect_prediction_is_the_best_in_every_metrics_direction(task):
    """And strictly better than another image's in the main metric."""
    truth, other = make_target(task, 2)
    labelled = torch.from_numpy(~np.asarray(is_void(task, truth.numpy())))

    def scores(prediction):
        return task.summarise([task.measure(prediction, truth)])

    def as_prediction(target):
        if task.kind in (TargetKind.CLASSES, TargetKind.EDGES):
            target = torch.where(target == 255, 0, target)
            return target if task.out_channels > 1 else target.float()
        return target

    perfect, worse = scores(as_prediction(truth)), scores(as_prediction(other))
    assert labelled.any()
    assert set(task.lower_is_better) <= set(task.summarise([]))
    assert list(task.summarise([])) == list(perfect), "the names are known before any image is scored"
    for name, value in perfect.items():
        if not np.isnan(value) and not np.isnan(worse[name]):
            assert value <= worse[name] if name in task.lower_is_better else value >= worse[name], name
    assert (perfect[task.metric] > worse[task.metric]) is task.higher_is_better
