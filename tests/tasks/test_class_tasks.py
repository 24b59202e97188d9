"""Semantic segmentation and human parts against torch's cross-entropy and torchmetrics' Jaccard index."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from mtl.tasks import HumanParts, SemanticSegmentation, segmentation
from mtl.tasks.segmentation import predict_classes


def random_ids(shape, high, seed, void=0.2):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, high, shape)
    return torch.from_numpy(np.where(rng.random(shape) < void, 255, ids).astype(np.uint8))


def test_loss_is_the_mean_cross_entropy_of_the_upsampled_logits():
    logits, target = torch.randn(2, 5, 4, 6), random_ids((2, 16, 24), 5, seed=0)
    upsampled = F.interpolate(logits, size=(16, 24), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(upsampled, target.long(), ignore_index=255)
    torch.testing.assert_close(SemanticSegmentation(5).loss(logits, target), expected)


def test_loss_of_uniform_logits_is_log_k():
    loss = HumanParts().loss(torch.zeros(1, 7, 2, 2), random_ids((1, 8, 8), 7, seed=0))
    assert loss.item() == pytest.approx(np.log(7), rel=1e-6)


def test_prediction_is_the_argmax_after_upsampling():
    logits = torch.randn(2, 150, 3, 4)
    expected = F.interpolate(logits, size=(31, 22), mode="bilinear", align_corners=False).argmax(1)
    assert torch.equal(SemanticSegmentation(150).predict(logits, (31, 22)).long(), expected)


def test_miou_and_accuracy_over_the_set_equal_torchmetrics():
    task = SemanticSegmentation(6)
    # no pixel of class 5 anywhere: it is no part of the mean
    sizes = [(9, 7), (12, 30), (1, 1), (20, 20)]
    targets = [random_ids(size, 5, seed=i) for i, size in enumerate(sizes)]
    predictions = [random_ids(size, 5, seed=10 + i, void=0) for i, size in enumerate(sizes)]
    metrics = task.summarise([task.measure(p, t) for p, t in zip(predictions, targets, strict=True)])

    p, t = (torch.cat([x.flatten() for x in images]).long() for images in (predictions, targets))
    jaccard = MulticlassJaccardIndex(5, ignore_index=255, average=None)(p, t)
    accuracy = MulticlassAccuracy(5, ignore_index=255, average="micro")(p, t)
    assert metrics["mIoU"] == pytest.approx(100 * jaccard.mean().item(), rel=1e-5)
    assert metrics["pixel_acc"] == pytest.approx(100 * accuracy.item(), rel=1e-5)
    assert [metrics[f"IoU/class_{i}"] for i in range(5)] == pytest.approx((100 * jaccard).tolist(), rel=1e-5)
    assert np.isnan(metrics["IoU/class_5"])


def test_a_class_that_is_only_predicted_counts_as_zero():
    task = SemanticSegmentation(["sky", "road", "car"])
    target = torch.tensor([[0, 0, 255, 255]], dtype=torch.uint8)
    # under void anything may be predicted
    stats = task.measure(torch.tensor([[0, 2, 1, 1]], dtype=torch.uint8), target)
    metrics = task.summarise([stats])
    assert (metrics["IoU/sky"], metrics["IoU/car"], metrics["mIoU"], metrics["pixel_acc"]) == (50, 0, 25, 50)
    assert np.isnan(metrics["IoU/road"])


def test_images_without_a_person_do_not_count_for_parts():
    task = HumanParts()
    nobody = torch.tensor([[0, 0, 255]], dtype=torch.uint8)
    someone = torch.tensor([[0, 1, 255]], dtype=torch.uint8)
    assert task.measure(torch.tensor([[3, 3, 3]], dtype=torch.uint8), nobody) is None
    metrics = task.summarise([task.measure(torch.tensor([[0, 0, 4]], dtype=torch.uint8), someone)])
    assert list(metrics)[:3] == ["mIoU", "IoU/background", "IoU/head"]
    assert (metrics["mIoU"], metrics["IoU/background"], metrics["IoU/head"]) == (25, 50, 0)


def test_colours_are_voc_s_but_for_its_grey():
    # the first entries of the VOC devkit's colour map; class 7 is (128, 128, 128) there, too near to void
    voc = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    voc += [(255, 255, 255), (64, 0, 0), (192, 0, 0), (64, 128, 0)]
    legend = SemanticSegmentation(["background", *(f"class_{i}" for i in range(1, 255))]).legend()
    assert [colour for _, colour in legend[: len(voc)]] == voc
    assert legend[254][0] == "class_254"
    assert len({colour for _, colour in legend}) == 255


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("person", "list of names"),
        (1, "valid are 2 to 255"),
        (256, "valid are 2 to 255"),
        (["a", "b", "a"], "a given more than once"),
        ([1, 2], "list of names"),
    ],
)
def test_bad_classes_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        SemanticSegmentation(classes)


def test_a_large_image_is_predicted_class_by_class(monkeypatch):
    """The same ids, the first of equal logits included, from a fraction of the memory."""
    logits = torch.randn(2, 5, 8, 9, generator=torch.Generator().manual_seed(0))
    logits[0, 3] = logits[0, 1]
    logits[1, :, 2:] = 0
    whole = predict_classes(logits, (40, 33))
    before, upsample = logits.clone(), segmentation.upsample
    shapes = []
    monkeypatch.setattr(segmentation, "upsample", lambda x, size: shapes.append(x.shape[1]) or upsample(x, size))
    monkeypatch.setattr(segmentation, "_HELD", 40 * 33 * 5 - 1)
    assert torch.equal(predict_classes(logits, (40, 33)), whole)
    assert shapes == 10 * [1]
    assert torch.equal(predict_classes(logits, (8, 9)), logits.argmax(1).to(torch.uint8))
    assert torch.equal(logits, before)
