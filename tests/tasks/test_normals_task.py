"""Surface normals against closed forms (vectors turned by a known angle) and numpy on all pixels at once."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from mtl.tasks import SurfaceNormals

TASK = SurfaceNormals()


def random_normals(shape, seed):
    vectors = np.random.default_rng(seed).normal(size=(*shape, 3))
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def turned(degrees):
    """``(N, 3)`` unit vectors at the given angles from (1, 0, 0), the other way round each."""
    angles = np.deg2rad(np.asarray(degrees, dtype=np.float64))
    around = np.linspace(0, 6, len(angles))
    return np.stack([np.cos(angles), np.sin(angles) * np.cos(around), np.sin(angles) * np.sin(around)], -1)


def measure_angles(degrees):
    prediction = torch.from_numpy(turned(degrees)[None].astype(np.float32))
    target = torch.tensor([1.0, 0, 0]).expand_as(prediction)
    return TASK.measure(prediction, target)


def test_loss_is_the_l1_distance_per_valid_element():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(2, 3, 4, 5)), random_normals((2, 4, 5), 1)
    target[0, :2] = 0
    unit = (logits / np.linalg.norm(logits, axis=1, keepdims=True)).transpose(0, 2, 3, 1)
    expected = np.abs(unit - target)[(target != 0).any(-1)].mean()
    loss = TASK.loss(torch.from_numpy(logits), torch.from_numpy(target))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_loss_of_opposite_axes_is_the_closed_form():
    # |(0, 0, -1) - (0, 0, 1)| summed is 2, over 3 elements; the length of the logits does not matter
    logits = torch.tensor([0.0, 0, -7]).view(1, 3, 1, 1)
    target = torch.tensor([0.0, 0, 1]).expand(1, 4, 4, 3)
    assert TASK.loss(logits, target).item() == pytest.approx(2 / 3)


def test_predictions_are_unit_vectors_of_the_interpolated_logits():
    logits = torch.randn(2, 3, 4, 4)
    prediction = TASK.predict(logits, (4, 4))
    torch.testing.assert_close(prediction.norm(dim=-1), torch.ones(2, 4, 4))
    torch.testing.assert_close(prediction[1, 2, 3], logits[1, :, 2, 3] / logits[1, :, 2, 3].norm())


@pytest.mark.parametrize("degrees", [0.0, 0.001, 0.3, 11.0, 45.0, 90.0, 135.0, 179.99, 180.0])
def test_a_known_angle_is_the_error(degrees):
    metrics = TASK.summarise([measure_angles([degrees])])
    assert metrics["mErr"] == pytest.approx(degrees, abs=1e-4)
    assert metrics["rmse"] == pytest.approx(degrees, abs=1e-4)
    assert metrics["median"] == pytest.approx(degrees, abs=0.1)


def test_metrics_are_over_the_pixels_of_all_images_together():
    degrees = [np.random.default_rng(i).uniform(0, 60, n) for i, n in enumerate([5, 300, 41])]
    metrics = TASK.summarise([measure_angles(d) for d in degrees])
    together = np.concatenate(degrees)
    assert metrics["mErr"] == pytest.approx(together.mean(), rel=1e-5)
    assert metrics["rmse"] == pytest.approx(math.sqrt((together**2).mean()), rel=1e-5)
    assert metrics["median"] == pytest.approx(np.median(together), abs=0.25)  # neighbours are 0.17 degrees apart
    for limit in (11.25, 22.5, 30):
        assert metrics[f"within_{limit:g}"] == pytest.approx(100 * (together < limit).mean())
    assert list(metrics) == ["mErr", "median", "rmse", "within_11.25", "within_22.5", "within_30"]


def test_the_median_of_many_pixels_is_finer_than_its_bins():
    degrees = np.random.default_rng(0).gamma(2, 8, 20_000).clip(0, 180)
    median = TASK.summarise([measure_angles(degrees)])["median"]
    assert median == pytest.approx(np.median(degrees), abs=0.02)


def test_void_pixels_do_not_count():
    target = torch.from_numpy(random_normals((6, 6), 0))
    prediction = target.clone()
    prediction[:3] *= -1
    target[:3] = 0
    assert TASK.summarise([TASK.measure(prediction, target)])["mErr"] == pytest.approx(0, abs=1e-4)
    assert TASK.measure(prediction, torch.zeros_like(target)) is None


def test_a_drawn_target_is_read_back(tmp_path):
    target = random_normals((20, 30), 3)
    target[4:7] = 0
    Image.fromarray(TASK.draw(target)).save(tmp_path / "a.png")
    read = TASK.read(tmp_path / "a.png")
    assert read.dtype == np.float32
    assert np.array_equal((read == 0).all(-1), (target == 0).all(-1))
    # rounding moves each component by 1 / 255 at most: 0.4 degrees
    assert np.abs(read - target).max() < 0.008
    TASK.check(read, "a.png")


def test_black_and_grey_are_void(tmp_path):
    pixels = [[0, 0, 0], [127, 127, 127], [128, 128, 128], [128, 128, 255], [255, 128, 128], [128, 255, 128]]
    Image.fromarray(np.array([pixels], np.uint8)).save(tmp_path / "a.png")
    expected = [[0, 0, 0]] * 3 + [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(TASK.read(tmp_path / "a.png")[0], expected, atol=0.01)


@pytest.mark.parametrize(
    "target",
    [
        np.full((2, 2, 3), 0.9, np.float32),
        np.full((2, 2, 3), np.nan, np.float32),
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2, 3), np.uint8),
    ],
)
def test_what_is_no_normal_is_refused(target):
    with pytest.raises(ValueError, match=r"a\.npy: normals"):
        TASK.check(target, "a.npy")
