"""Saliency against a slow loop over pixels and images, torchmetrics' Jaccard index and closed forms."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.classification import BinaryJaccardIndex

from mtl.tasks import Saliency

TASK = Saliency()
THRESHOLDS = np.linspace(0.2, 0.9, 15).astype(np.float32)


def test_loss_equals_the_loop_over_pixels():
    rng = np.random.default_rng(0)
    target = rng.choice([0, 0, 0, 1, 255], (2, 6, 5)).astype(np.uint8)
    logits = rng.normal(size=(2, 1, 6, 5))
    labelled = [(x, y) for x, y in zip(logits.ravel(), target.ravel(), strict=True) if y != 255]
    w = sum(y == 0 for _, y in labelled) / len(labelled)
    expected = 0.0
    for x, y in labelled:
        p = 1 / (1 + math.exp(-x))
        expected += -w * math.log(p) if y == 1 else -(1 - w) * math.log(1 - p)
    loss = TASK.loss(torch.from_numpy(logits), torch.from_numpy(target))
    assert loss.item() == pytest.approx(expected / len(labelled), rel=1e-5)


def test_loss_of_zero_logits_is_the_closed_form():
    # 3 negatives, 1 positive: [3/4 · 1 · ln 2 + 1/4 · 3 · ln 2] / 4
    target = torch.tensor([[[0, 0], [0, 1]]], dtype=torch.uint8)
    assert TASK.loss(torch.zeros(1, 1, 1, 1), target).item() == pytest.approx(1.5 * math.log(2) / 4)


def test_the_balance_is_that_of_the_whole_batch():
    target = torch.tensor([[[0, 0]], [[1, 1]]], dtype=torch.uint8)
    # image by image one class would have weight 0
    assert TASK.loss(torch.zeros(2, 1, 1, 2), target).item() == pytest.approx(0.5 * math.log(2))


def loop_jaccard_precision_recall(probability, target, threshold):
    hits = predicted = salient = 0
    for p, t in zip(probability.ravel(), target.ravel(), strict=True):
        if t != 255:
            hits += p > threshold and t == 1
            predicted += p > threshold
            salient += t == 1
    union = predicted + salient - hits
    if union == 0:
        return 1.0, 1.0, 1.0
    return hits / union, hits / predicted if predicted else 0.0, hits / salient if salient else 0.0


def test_metrics_equal_the_loop_over_images_and_pixels():
    rng = np.random.default_rng(1)
    targets = [rng.choice([0, 1, 255], size).astype(np.uint8) for size in [(5, 7), (9, 4), (1, 1)]]
    targets.append(np.zeros((4, 4), np.uint8))
    probabilities = [rng.random(t.shape).astype(np.float32) for t in targets]
    probabilities.append(np.full((3, 3), 0.1, np.float32))
    targets.append(np.zeros((3, 3), np.uint8))  # nothing there and nothing predicted: IoU 1
    images = list(zip(probabilities, targets, strict=True))
    stats = [TASK.measure(torch.from_numpy(p), torch.from_numpy(t)) for p, t in images]
    metrics = TASK.summarise([s for s in stats if s is not None])

    ious, fs = [], []
    for threshold in THRESHOLDS:
        rows = [loop_jaccard_precision_recall(p, t, threshold) for p, t in images if (t != 255).any()]
        iou, precision, recall = np.mean(rows, axis=0)
        ious.append(iou)
        fs.append(1.3 * precision * recall / (0.3 * precision + recall))
    assert metrics["mIoU"] == pytest.approx(100 * max(ious))
    assert metrics["maxF"] == pytest.approx(100 * max(fs))


def test_each_threshold_s_iou_equals_torchmetrics():
    torch.manual_seed(0)
    probability, target = torch.rand(20, 30), (torch.rand(20, 30) < 0.4).byte()
    target[:3] = 255
    expected = [BinaryJaccardIndex(float(t), ignore_index=255)(probability, target.long()) for t in THRESHOLDS]
    measured = TASK.measure(probability, target)["jaccard"]
    np.testing.assert_allclose(measured, torch.stack(expected).numpy(), rtol=1e-6)


def test_a_probability_at_the_threshold_is_not_salient():
    target = torch.ones(1, 1, dtype=torch.uint8)
    at, above = torch.full((1, 1), 0.2), torch.full((1, 1), 0.2001)
    assert TASK.measure(at, target)["jaccard"][0] == 0
    assert TASK.measure(above, target)["jaccard"][0] == 1


def test_a_perfect_prediction_scores_100_and_an_unlabelled_image_does_not_count():
    target = torch.tensor([[0, 1, 255]], dtype=torch.uint8)
    metrics = TASK.summarise([TASK.measure(torch.tensor([[0.0, 1.0, 1.0]]), target)])
    assert metrics == {"mIoU": 100, "maxF": 100}
    assert TASK.measure(torch.zeros(1, 3), torch.full((1, 3), 255, dtype=torch.uint8)) is None


@pytest.mark.parametrize(
    ("grey", "expected"),
    [
        ([0, 255], [0, 1]),  # mask
        ([0, 0], [0, 0]),
        ([255, 255], [1, 1]),
        ([0, 1, 255], [0, 0, 1]),  # one stray grey level makes no class ids of a mask
        ([0, 127, 128, 200], [0, 0, 1, 1]),  # soft map: v / 255 > 0.5
        ([0, 1, 2, 255], [0, 0, 0, 1]),
    ],
)
def test_masks_ids_and_soft_maps_are_read(tmp_path, grey, expected):
    Image.fromarray(np.array([grey], np.uint8)).save(tmp_path / "a.png")
    target = TASK.read(tmp_path / "a.png")
    assert target.dtype == np.uint8
    assert target.tolist() == [expected]
    TASK.check(target, "a.png")


def test_class_ids_are_read_where_the_config_says_so(tmp_path):
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.array([[0, 0, 255]], np.uint8)).save(tmp_path / "void.png")
    task = Saliency(labels="ids")
    assert task.read(tmp_path / "a.png").tolist() == [[0, 1, 255]]
    assert task.read(tmp_path / "void.png").tolist() == [[0, 0, 255]]
    with pytest.raises(ValueError, match=r"unknown labels 'id'.*did you mean 'ids'"):
        Saliency(labels="id")


def test_a_one_bit_mask_is_read(tmp_path):
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "a.png")
    assert TASK.read(tmp_path / "a.png").tolist() == [[0, 1]]


def test_a_probability_is_drawn_like_the_target_it_agrees_with():
    target = np.array([[0, 1]], np.uint8)
    assert np.array_equal(TASK.draw(target), TASK.draw(target.astype(np.float32)))
