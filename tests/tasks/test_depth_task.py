"""The depth task against NumPy on flat lists of pixels, and its label files."""

import numpy as np
import pytest
import torch
from PIL import Image

from mtl.tasks import Depth


def images(number=3):
    rng = np.random.default_rng(0)
    for _ in range(number):
        target = rng.uniform(0.5, 9, (7, 11)).astype(np.float32)
        target[rng.random(target.shape) < 0.3] = 0
        yield (target * rng.uniform(0.7, 1.4, target.shape)).astype(np.float32) + np.float32(0.2), target


def test_metrics_are_those_of_all_pixels_together():
    task = Depth()
    statistics = [task.measure(torch.from_numpy(p), torch.from_numpy(t)) for p, t in images()]
    pairs = [(p[t > 0].astype(np.float64), t[t > 0].astype(np.float64)) for p, t in images()]
    p, t = (np.concatenate(part) for part in zip(*pairs, strict=True))
    ratio = np.maximum(p / t, t / p)
    assert task.summarise(statistics) == pytest.approx(
        {
            "RMSE": np.sqrt(np.mean((p - t) ** 2)),
            "absRel": np.mean(abs(p - t) / t),
            "RMSE_log": np.sqrt(np.mean(np.log(p / t) ** 2)),
            **{f"delta{i}": 100 * np.mean(ratio < 1.25**i) for i in (1, 2, 3)},
        }
    )


def test_loss_is_the_mean_absolute_error_of_labelled_pixels():
    prediction, target = (torch.from_numpy(x)[None] for x in next(images()))
    expected = (prediction - target).abs()[target > 0].mean()
    torch.testing.assert_close(Depth().loss(prediction[:, None], target), expected)


def test_label_files(tmp_path):
    metres = np.array([[0.0, 1.5], [np.nan, np.inf]], np.float64)
    np.save(tmp_path / "a.npy", metres)
    np.testing.assert_array_equal(Depth().read(tmp_path / "a.npy"), np.float32([[0, 1.5], [0, 0]]))
    (tmp_path / "a.npy").rename(tmp_path / "A.NPY")
    np.testing.assert_array_equal(Depth().read(tmp_path / "A.NPY"), np.float32([[0, 1.5], [0, 0]]))
    np.save(tmp_path / "b.npy", metres[:1, :, None])
    np.testing.assert_array_equal(Depth().read(tmp_path / "b.npy"), np.float32([[0, 1.5]]))
    Image.fromarray(np.array([[0, 1500, 9000]], np.uint16)).save(tmp_path / "c.png")
    np.testing.assert_allclose(Depth().read(tmp_path / "c.png"), [[0, 1.5, 9]], rtol=1e-6)
    np.testing.assert_allclose(Depth(level=0.0002, farthest=1.0).read(tmp_path / "c.png"), [[0, 0.3, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"", r"cannot read the label .*a\.npy"),
        ("a.npy", np.array([{}], dtype=object), r"cannot read the label .*a\.npy"),
        ("a.npy", b"PK\x03\x04", r"cannot read the label .*a\.npy"),
        ("a.npy", np.zeros((2, 2, 3)), r"a\.npy: depth is \(H, W\) metres"),
        ("a.npy", np.full((2, 2), 3000, np.uint16), r"a\.npy: depth is \(H, W\) metres as floats, not .* uint16"),
        ("a.npy", -np.ones((2, 2)), r"a\.npy: depth is metres, 0 where there is none; the least here is -1"),
        ("a.png", b"", r"cannot read the label .*a\.png"),
        ("a.png", np.zeros((2, 2), np.uint8), r"has the channels 'L', not one of 16 bits"),
    ],
)
def test_broken_label_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".npy":
        np.save(path, content, allow_pickle=True)
    else:
        Image.fromarray(content).save(path)
    with pytest.raises(ValueError, match=message):
        Depth().read(path)


@pytest.mark.parametrize("wrong", [{"level": 0}, {"farthest": -1}, {"nearest": 0}])
def test_wrong_options_are_named(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is a positive number"):
        Depth(**wrong)
