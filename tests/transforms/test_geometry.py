"""`RandomAugment` and `Resize` against slow, independent warps and closed forms."""

import pickle

import cv2
import numpy as np
import pytest
from scipy import stats

from mtl.registry import TRANSFORMS
from mtl.structures import VOID, TargetKind
from mtl.transforms import RandomAugment, Resize
from mtl.transforms.sample import Sample
from mtl.transforms.warp import Warp

KINDS = {"semseg": TargetKind.CLASSES, "normals": TargetKind.VECTORS, "depth": TargetKind.DEPTH}
WARPS = [(0.0, 1.0, False), (17.0, 1.0, False), (-20.0, 0.75, True), (9.0, 1.25, True), (0.0, 1.1, True)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def fixed(size: tuple[int, int], angle: float = 0.0, zoom: float = 1.0, flip: bool = False) -> RandomAugment:
    """A `RandomAugment` that always draws these parameters."""
    augment = RandomAugment(size)
    augment.warp = Warp(size, float(flip), (angle, angle), (zoom, zoom))
    return augment


def noise(height: int = 45, width: int = 60, seed: int = 0) -> Sample:
    """Every pixel different, so that a warp that is off by one shows."""
    r = rng(seed)
    vectors = r.normal(size=(height, width, 3)).astype(np.float32)
    targets = {
        "semseg": r.integers(0, 21, (height, width), dtype=np.uint8),
        "normals": vectors / np.linalg.norm(vectors, axis=2, keepdims=True),
        "depth": r.uniform(1, 5, (height, width)).astype(np.float32),
    }
    return Sample("noise", r.integers(0, 256, (height, width, 3), dtype=np.uint8), targets, KINDS)


def source_pixels(shape, size, angle, zoom, flip):
    """The source row and column of every output pixel: resize, zoom, rotation and flip undone one by one."""
    (H, W), (h, w) = shape, size
    row, column = np.mgrid[:h, :w]
    x = (column + 0.5) * W / w - W / 2
    y = H / 2 - (row + 0.5) * H / h
    turn = np.deg2rad(-angle)
    x, y = (x * np.cos(turn) - y * np.sin(turn)) / zoom, (x * np.sin(turn) + y * np.cos(turn)) / zoom
    x = -x if flip else x
    return H / 2 - y - 0.5, x + W / 2 - 0.5


def slow_warp(target, void, size, angle, zoom, flip):
    """``target`` warped to the nearest pixel, and where the nearest pixel is not a tie."""
    H, W = target.shape[:2]
    rows, columns = source_pixels((H, W), size, angle, zoom, flip)
    i, j = np.rint(rows).astype(int), np.rint(columns).astype(int)
    inside = (i >= 0) & (i < H) & (j >= 0) & (j < W)
    out = np.full((*size, *target.shape[2:]), void, target.dtype)
    out[inside] = target[i[inside], j[inside]]
    # OpenCV before 4.11 rounds coordinates to 1/1024 of a pixel
    clear = np.maximum(abs(rows - i), abs(columns - j)) < 0.5 - 2e-3
    return out, inside, clear


@pytest.mark.parametrize(("angle", "zoom", "flip"), WARPS)
@pytest.mark.parametrize("size", [(45, 60), (64, 64), (96, 50)])
def test_targets_equal_a_slow_warp(angle, zoom, flip, size):
    sample = noise()
    done = fixed(size, angle, zoom, flip)(sample, rng())

    expected, inside, clear = slow_warp(sample.targets["semseg"], VOID, size, angle, zoom, flip)
    assert clear.mean() > 0.75
    np.testing.assert_array_equal(done.targets["semseg"][clear], expected[clear])
    assert set(np.unique(done.targets["semseg"])) <= set(np.unique(sample.targets["semseg"])) | {VOID}

    expected, _, _ = slow_warp(sample.targets["depth"], 0, size, angle, zoom, flip)
    np.testing.assert_allclose(done.targets["depth"][clear], expected[clear] / zoom, rtol=1e-6)

    expected, _, _ = slow_warp(sample.targets["normals"], 0, size, angle, zoom, flip)
    expected[..., 0] *= -1 if flip else 1
    x, y, turn = expected[..., 0].copy(), expected[..., 1].copy(), np.deg2rad(angle)
    expected[..., 0], expected[..., 1] = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    np.testing.assert_allclose(done.targets["normals"][clear], expected[clear], atol=1e-6)

    assert not done.image[~inside & clear].any()
    assert {name: target.dtype for name, target in done.targets.items()} == {
        "semseg": np.uint8,
        "normals": np.float32,
        "depth": np.float32,
    }


@pytest.mark.parametrize(("angle", "zoom", "flip"), WARPS)
def test_image_and_labels_move_alike(angle, zoom, flip):
    """Smooth ramps survive interpolation: the warped ramp is the ramp at the warped place."""
    H, W, size = 90, 120, (100, 100)
    row, column = np.mgrid[:H, :W]
    image = np.stack([row * 2, column * 2, np.full((H, W), 200)], axis=2).astype(np.uint8)
    done = fixed(size, angle, zoom, flip)(Sample("ramps", image, {}, {}), rng())
    rows, columns = source_pixels((H, W), size, angle, zoom, flip)
    deep = (rows > 3) & (rows < H - 4) & (columns > 3) & (columns < W - 4)
    # 1 for the rounding to uint8, 1 for area averaging to a whole number of pixels
    assert abs(done.image[..., 0] - 2 * rows)[deep].max() < 2
    assert abs(done.image[..., 1] - 2 * columns)[deep].max() < 2


def test_identity_changes_nothing():
    sample = noise()
    done = fixed((45, 60))(sample, rng())
    np.testing.assert_array_equal(done.image, sample.image)
    for name, target in sample.targets.items():
        np.testing.assert_array_equal(done.targets[name], target)


def test_flip_alone_mirrors():
    sample = noise()
    done = fixed((45, 60), flip=True)(sample, rng())
    np.testing.assert_array_equal(done.image, sample.image[:, ::-1])
    np.testing.assert_array_equal(done.targets["semseg"], sample.targets["semseg"][:, ::-1])
    np.testing.assert_array_equal(done.targets["normals"], sample.targets["normals"][:, ::-1] * [-1, 1, 1])
    np.testing.assert_array_equal(done.targets["depth"], sample.targets["depth"][:, ::-1])


def test_void_stays_void():
    sample = noise()
    void = rng(1).random((45, 60)) < 0.3
    for name, kind in KINDS.items():
        sample.targets[name][void] = kind.void(45, 60)[void]
    done = fixed((70, 64), 20, 0.8, True)(sample, rng()).targets
    np.testing.assert_array_equal(done["semseg"] == VOID, done["depth"] == 0)
    np.testing.assert_array_equal(done["semseg"] == VOID, ~done["normals"].any(axis=2))
    lengths = np.linalg.norm(done["normals"], axis=2)
    np.testing.assert_allclose(lengths[done["semseg"] != VOID], 1, atol=1e-6)


def test_positive_angle_turns_counter_clockwise():
    """A dot right of the centre goes up, and a vector to the right turns up, by the same 30°."""
    sample = noise(101, 101)
    sample.targets["semseg"][:] = 0
    sample.targets["semseg"][50, 90] = 1
    sample.targets["normals"][:] = (0.6, 0, 0.8)
    done = fixed((101, 101), angle=30)(sample, rng()).targets
    row, column = np.argwhere(done["semseg"] == 1).mean(axis=0)
    assert (row, column) == pytest.approx((50 - 40 * 0.5, 50 + 40 * np.sqrt(0.75)), abs=0.8)
    np.testing.assert_allclose(done["normals"][50, 50], (0.6 * np.sqrt(0.75), 0.6 * 0.5, 0.8), atol=1e-6)


def sphere(size: int, radius: float) -> np.ndarray:
    """The normals ``(size, size, 3)`` of a sphere seen from afar, zeros around it."""
    y, x = np.mgrid[size / 2 - 0.5 : -size / 2 : -1, -size / 2 + 0.5 : size / 2 : 1] / radius
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
    return (np.stack([x, y, z], axis=2) * (z > 0)[..., None]).astype(np.float32)


@pytest.mark.parametrize(("angle", "zoom", "flip"), [(20, 1, False), (-35, 1, False), (0, 1, True), (25, 1.2, True)])
def test_a_sphere_is_a_sphere_from_every_side(angle, zoom, flip):
    """n = f(position): however the picture of a sphere is turned, flipped or zoomed, it is a sphere again."""
    n = 201
    sample = Sample("sphere", np.zeros((n, n, 3), np.uint8), {"normals": sphere(n, 70)}, KINDS)
    done = fixed((n, n), angle, zoom, flip)(sample, rng()).targets["normals"]
    expected = sphere(n, 70 * zoom)
    inner = expected[..., 2] > 0.5
    error = np.rad2deg(np.arccos(np.clip((done * expected).sum(axis=2)[inner], -1, 1)))
    # the nearest pixel is up to 0.7 pixels away: 0.7 / 70 rad = 0.6°, twice that on the slope z = 0.5
    assert error.max() < 1.3


def test_cubic_overshoot_is_clipped():
    """At an edge from 0 to 255 cubic interpolation leaves [0, 255]; a wrap would make black specks in the white."""
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:] = 255
    done = fixed((131, 131))(Sample("edge", image, {}, {}), rng()).image
    assert (done[:, :64] < 128).all()
    assert (done[:, 67:] > 128).all()
    assert set(np.unique(np.concatenate([done[:, :55], done[:, 76:]], axis=1))) == {0, 255}


def test_the_image_is_not_darkened_at_its_edges():
    sample = noise()
    sample.image[:] = 200
    done = fixed((64, 64), 15, 0.8)(sample, rng())
    assert set(np.unique(done.image)) == {0, 200}
    np.testing.assert_array_equal(done.image[..., 0] == 0, done.targets["semseg"] == VOID)


def test_shrinking_does_not_alias():
    """A checkerboard four times finer than the output is grey."""
    checker = (np.indices((400, 400)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    sample = Sample("checker", checker, {}, {})
    for transform in (fixed((100, 100)), Resize((100, 100))):
        assert abs(transform(sample, rng()).image.astype(int) - 127.5).max() <= 1


def test_draws_are_uniform_and_flips_even():
    augment = RandomAugment((8, 8), flip=0.5, rotate=20, scale=(0.75, 1.25))
    sample, draws = noise(8, 8), []
    for seed in range(300):
        augment(sample, rng(seed))
        drawn = augment.warp.get_applied_params()
        draws.append((drawn["angle"], drawn["zoom"], drawn["mirrored"]))
    angles, zooms, flips = np.array(draws).T
    assert stats.kstest(angles, stats.uniform(-20, 40).cdf).pvalue > 0.01
    assert stats.kstest(zooms, stats.uniform(0.75, 0.5).cdf).pvalue > 0.01
    assert stats.binomtest(int(flips.sum()), 300).pvalue > 0.01
    assert abs(np.corrcoef([angles, zooms, flips]) - np.eye(3)).max() < 0.15


def test_the_result_depends_on_the_generator_alone():
    augment, sample = RandomAugment((32, 32)), noise()
    first, other = augment(sample, rng(3)), augment(sample, rng(4))
    again = pickle.loads(pickle.dumps(augment))(sample, rng(3))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.targets["normals"], again.targets["normals"])
    assert (first.image != other.image).any()


def test_the_sample_is_left_alone():
    sample, before = noise(), noise()
    RandomAugment((45, 60))(sample, rng())
    np.testing.assert_array_equal(sample.image, before.image)
    for name, target in before.targets.items():
        np.testing.assert_array_equal(sample.targets[name], target)


def test_targets_may_differ_from_image_to_image():
    augment = RandomAugment((16, 16))
    for names in ((), ("semseg",), ("depth", "normals"), ("semseg", "normals")):
        sample = noise()
        sample.targets = {name: sample.targets[name] for name in names}
        assert list(augment(sample, rng()).targets) == list(names)


def test_resize_of_the_image():
    image = noise(40, 60).image
    sample = Sample("photo", image, {}, {})
    enlarged = Resize((80, 90))(sample, rng()).image
    np.testing.assert_array_equal(enlarged, cv2.resize(image, (90, 80), interpolation=cv2.INTER_CUBIC))
    shrunk = Resize((20, 30))(sample, rng()).image
    blocks = image.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert abs(shrunk - blocks).max() <= 0.5
    mixed = Resize((80, 30))(sample, rng()).image
    columns = np.rint(image.reshape(40, 30, 2, 3).mean(axis=2)).astype(np.uint8)
    expected = cv2.resize(columns, (30, 80), interpolation=cv2.INTER_CUBIC)
    assert abs(mixed.astype(int) - expected).max() <= 2


def test_resize_leaves_targets_or_takes_the_nearest():
    sample = noise(33, 60)
    untouched = Resize((10, 100))(sample, rng()).targets
    assert all(untouched[name] is sample.targets[name] for name in KINDS)
    resized = Resize((10, 100), targets=True)(sample, rng()).targets
    rows = np.floor((np.arange(10) + 0.5) * 33 / 10).astype(int)
    columns = np.floor((np.arange(100) + 0.5) * 60 / 100).astype(int)
    for name, target in sample.targets.items():
        np.testing.assert_array_equal(resized[name], target[np.ix_(rows, columns)])


def test_training_and_evaluation_agree_without_augmentation():
    """The same picture in the same place: a half-pixel shift between the two would cost accuracy silently."""
    row, column = np.mgrid[:75, :100]
    image = np.stack([row * 3, column * 2, row + column], axis=2).astype(np.uint8)
    sample = Sample("ramps", image, {"semseg": noise(75, 100).targets["semseg"]}, KINDS)
    trained = fixed((128, 128))(sample, rng())
    evaluated = Resize((128, 128), targets=True)(sample, rng())
    assert abs(trained.image.astype(int) - evaluated.image).max() <= 2
    assert (trained.targets["semseg"] == evaluated.targets["semseg"]).mean() > 0.97


def test_a_target_of_another_size_is_an_error():
    sample = Resize((20, 20))(noise(), rng())
    with pytest.raises(ValueError, match=r"noise: the target 'semseg' is \(45, 60\), the image \(20, 20\)"):
        RandomAugment((16, 16))(sample, rng())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(type="RandomAugment", size=(8,)), r"needs size=\(H, W\)"),
        (dict(type="RandomAugment", size=(8, 0)), r"needs size=\(H, W\)"),
        (dict(type="RandomAugment", size=512), "size is a list"),
        (dict(type="RandomAugment", size=(8, 8), flip=2), "probability"),
        (dict(type="RandomAugment", size=(8, 8), rotate=-5), "at least 0"),
        (dict(type="RandomAugment", size=(8, 8), scale=(1.25, 0.75)), r"\(low, high\)"),
        (dict(type="RandomAugment", size=(8, 8), scale=(0, 1)), r"\(low, high\)"),
        (dict(type="RandomAugment", size=(8, 8), rotation=5), "did you mean 'rotate'"),
        (dict(type="Resize", size="512"), "size is a list"),
    ],
)
def test_wrong_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(config)
