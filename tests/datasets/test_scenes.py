"""The rendered scenes: geometry against closed forms and against the definitions of the solids."""

import numpy as np
import pytest
import torch

from mtl.datasets import Scenes
from mtl.datasets.render import PART_CLASSES, SCENE_CLASSES, TARGETS, compose, render
from mtl.datasets.studio.materials import Material
from mtl.datasets.studio.objects import OBJECTS
from mtl.datasets.studio.people import POSES, person
from mtl.datasets.studio.scene import PERSON, Camera, Light, Scene
from mtl.datasets.studio.solids import BOX, ELLIPSOID, FRUSTUM, Solids, join, oriented, rods, upright
from mtl.registry import DATASETS
from mtl.structures import TargetKind
from mtl.tasks.base import Task


def stage(solids: Solids, pitch: float = 0.0, floor: bool = True, focal: float = 1.0) -> Scene:
    """Solids before a camera at (0, 1.5, 0); each has its own class, all share one material."""
    return Scene(
        solids,
        np.arange(len(solids)) % len(SCENE_CLASSES),
        np.zeros(len(solids), bool),
        np.array([[0.0, 1.0, 0.0, 0.0]])[: int(floor)],
        (Material((0.5, 0.5, 0.5)),) * 2,
        Camera.above(1.5, pitch, focal),
        Light(np.array([0.36, 0.8, 0.48])),
    )


def rays(size: tuple[int, int], focal: float) -> np.ndarray:
    """Rays of depth 1 through the pixels' centres, camera axes; ``focal`` in pixels."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return np.stack([(x - size[1] / 2) / focal, (size[0] / 2 - y) / focal, -np.ones(size)], -1)


def scene(index: int, seed: int = 0) -> Scene:
    return compose(np.random.default_rng((seed, index)))


def differing(a: np.ndarray, b: np.ndarray, tolerance: float = 0.0) -> float:
    """Share of pixels that differ."""
    far = np.abs(a.astype(float) - b.astype(float)) > tolerance
    return float(far.reshape(*far.shape[:2], -1).any(-1).mean())


# -- closed forms ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("radius", "centre"), [(0.5, (0.3, 1.2, -4.0)), (0.05, (-0.4, 1.9, -6.0))])
def test_sphere_is_the_closed_form(radius: float, centre: tuple[float, float, float]) -> None:
    size, pitch = (300, 400), 0.1
    sphere = stage(join([upright(BOX, [0, 0, 50], [1, 1, 1]), upright(ELLIPSOID, centre, [radius] * 3)]), pitch)
    _, targets = render(sphere, size)

    d = rays(size, 300.0)
    c = sphere.camera.rotation @ (np.array(centre) - [0, 1.5, 0])
    a, b = (d * d).sum(-1), d @ c
    discriminant = b * b - a * (c @ c - radius**2)
    hit = discriminant > 0
    depth = (b - np.sqrt(np.maximum(discriminant, 0))) / a
    normals = (d * depth[..., None] - c) / radius

    assert hit.sum() > 10
    assert np.array_equal(targets["semseg"] == 1, hit)
    assert np.allclose(targets["depth"][hit], depth[hit], rtol=1e-5)
    # near the silhouette the error of the depth is magnified by 1/cos
    assert np.allclose(targets["normals"][hit], normals[hit], atol=2e-3)


def test_floor_is_the_closed_form() -> None:
    pitch, size = 0.3, (80, 60)
    _, targets = render(stage(upright(ELLIPSOID, [0, 1, 40], [1, 1, 1]), pitch), size)
    d = rays(size, 60.0)
    fall = d @ [0, np.cos(pitch), np.sin(pitch)]  # the ray's component along the floor's normal
    with np.errstate(divide="ignore"):
        depth = -1.5 / fall
    seen = (depth > 0) & (depth < 40)
    assert 0.3 < seen.mean() < 1
    assert np.array_equal(targets["depth"] > 0, seen)
    assert np.allclose(targets["depth"][seen], depth[seen], rtol=1e-5)
    assert np.allclose(targets["normals"][seen], [0, np.cos(pitch), np.sin(pitch)], atol=1e-6)
    assert not targets["normals"][~seen].any()
    assert "human_parts" not in targets


def test_box_faces_the_viewer() -> None:
    box = stage(upright(BOX, [0, 1.5, -5], [1, 1, 1]), floor=False)
    image, targets = render(box, (64, 64))
    assert image.dtype == np.uint8
    # the face is at 4 m and 2 m wide, the picture there 4 m wide
    assert (targets["depth"] > 0).sum() == 32 * 32
    assert np.allclose(targets["depth"][16:48, 16:48], 4)
    assert np.allclose(targets["normals"][16:48, 16:48], [0, 0, 1])


# -- the solids' definitions -----------------------------------------------------------------------------------------
def outside(solids: Solids, points: np.ndarray) -> np.ndarray:
    """Positive outside all solids, negative in one: ``(..., 3)`` -> ``(...)``, in local units."""
    values = []
    for kind, centre, axes, taper in zip(solids.kind, solids.centre, solids.axes, solids.taper, strict=True):
        x, y, z = np.moveaxis(np.linalg.solve(axes.T, (points - centre)[..., None])[..., 0], -1, 0)
        if kind == ELLIPSOID:
            values.append(np.sqrt(x * x + y * y + z * z) - 1)
        elif kind == BOX:
            values.append(np.maximum.reduce([abs(x), abs(y), abs(z)]) - 1)
        else:
            radius = (1 + taper) / 2 + (taper - 1) / 2 * y
            values.append(np.maximum(np.hypot(x, z) - radius, abs(y) - 1))
    return np.min(values, axis=0)


def some_solids(seed: int) -> Solids:
    rng = np.random.default_rng(seed)
    frames = np.linalg.qr(rng.standard_normal((3, 3, 3)))[0]
    centres = rng.uniform([-1.2, 0.6, -6], [1.2, 2.2, -4], (3, 3))
    half = rng.uniform(0.2, 0.6, (3, 3))
    solids = [oriented(kind, centres[kind], frames[kind : kind + 1], half[kind]) for kind in (ELLIPSOID, FRUSTUM, BOX)]
    solids.append(upright(FRUSTUM, [0.5, 0.8, -5], [0.4, 0.5, 0.3], taper=rng.uniform(0.05, 1.3)))
    return join(solids)


@pytest.mark.parametrize("seed", range(6))
def test_rays_end_on_the_first_surface(seed: int) -> None:
    solids, size = some_solids(seed), (48, 64)
    sketch = stage(solids, pitch=0.05, floor=False)
    _, targets = render(sketch, size)
    depth = targets["depth"].astype(float)
    directions = rays(size, 48.0) @ sketch.camera.rotation
    hit = depth > 0
    assert 0.02 < hit.mean() < 0.8
    surface = sketch.camera.position + directions * depth[..., None]
    assert np.abs(outside(solids, surface)[hit]).max() < 1e-4
    before = np.where(hit, depth - 1e-3, 10.0)[..., None, None] * np.linspace(0.05, 1, 300)[:, None]
    passed = outside(solids, sketch.camera.position + directions[:, :, None] * before)
    assert (passed.min(-1) < -0.01).sum() == 0


@pytest.mark.parametrize("seed", range(3))
def test_normals_are_those_of_the_depth(seed: int) -> None:
    """Against the cross product of the differences of neighbouring surface points."""
    size = (240, 240)
    _, targets = render(stage(some_solids(seed)), size)
    points = rays(size, 240.0) * targets["depth"][..., None]
    down, right = points[2:, 1:-1] - points[:-2, 1:-1], points[1:-1, 2:] - points[1:-1, :-2]
    normals = np.cross(down, right)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    cos = (normals * targets["normals"][1:-1, 1:-1]).sum(-1)
    solid = targets["semseg"][1:-1, 1:-1] > 0
    assert np.mean(cos[solid] > np.cos(np.radians(2))) > 0.85  # the rest are edges
    assert np.median(cos[solid]) > np.cos(np.radians(0.3))


# -- views -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("index", [3, 7, 11])
@pytest.mark.parametrize("size", [(96, 96), (64, 96)])
def test_quarter_turn_is_rot90(index: int, size: tuple[int, int]) -> None:
    image, targets = render(scene(index), size)
    turned_image, turned = render(scene(index), size[::-1], roll=90)
    assert turned.keys() == targets.keys()
    for name in targets.keys() - {"normals"}:
        assert differing(turned[name], np.rot90(targets[name]), 1e-3) < 2e-3, name
    x, y, z = np.moveaxis(np.rot90(targets["normals"]), -1, 0)
    assert differing(turned["normals"], np.stack([-y, x, z], -1), 1e-3) < 2e-3
    assert differing(turned_image, np.rot90(image), 8) < 0.005  # shadows are drawn as polygons of whole pixels


@pytest.mark.parametrize("index", [3, 7, 11])
def test_flip_is_the_mirror_image(index: int) -> None:
    image, targets = render(scene(index), (96, 128), roll=20)
    # mirrored after it was turned
    mirrored_image, mirrored = render(scene(index), (96, 128), roll=20, flip=True)
    for name in targets.keys() - {"normals"}:
        assert differing(mirrored[name], targets[name][:, ::-1], 1e-3) < 2e-3, name
    assert differing(mirrored["normals"], targets["normals"][:, ::-1] * [-1, 1, 1], 1e-3) < 2e-3
    assert differing(mirrored_image, image[:, ::-1], 8) < 0.005


@pytest.mark.parametrize("index", [7, 11])
def test_zoom_is_the_middle_of_a_larger_picture(index: int) -> None:
    _, targets = render(scene(index), (192, 192))
    _, zoomed = render(scene(index), (96, 96), zoom=2.0)
    for name in zoomed:
        assert differing(zoomed[name], targets[name][48:144, 48:144], 1e-3) < 2e-3, name


@pytest.mark.parametrize(("roll", "zoom", "flip"), [(17.0, 1.0, False), (-33.0, 0.8, True)])
def test_any_view_is_the_picture_resampled(roll: float, zoom: float, flip: bool) -> None:
    size, finer = 120, 8
    _, targets = render(scene(11), (size * finer, size * finer))
    _, seen = render(scene(11), (size, size), roll, zoom, flip)
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    if flip:
        x = -x
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    # counter-clockwise with y downward, and back
    x, y = (c * x - s * y) / zoom, (s * x + c * y) / zoom
    column, row = (np.floor((v + size / 2) * finer).astype(int) for v in (x, y))
    inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < size * finer)
    at = row[inside], column[inside]
    for name in ("semseg", "human_parts", "saliency"):
        assert np.mean(targets[name][at] != seen[name][inside]) < 0.01, name
    nx, ny, nz = targets["normals"][at].T
    nx, ny = c * nx - s * ny, s * nx + c * ny
    cos = (np.stack([-nx if flip else nx, ny, nz], -1) * seen["normals"][inside]).sum(-1)
    assert np.mean(cos[targets["depth"][at] > 0] > 0.999) > 0.95


# -- scenes ----------------------------------------------------------------------------------------------------------
def test_labels_agree_with_each_other() -> None:
    people = 0
    for index in range(30):
        _, targets = render(scene(index), (72, 72))
        person_seen = targets["semseg"] == SCENE_CLASSES.index("person")
        assert ("human_parts" in targets) == person_seen.any()
        if person_seen.any():
            people += 1
            assert np.array_equal(targets["human_parts"] > 0, person_seen)
            assert targets["human_parts"].max() < len(PART_CLASSES)
        assert targets["saliency"][person_seen].all()
        assert targets["semseg"].max() < len(SCENE_CLASSES)
        objects = targets["semseg"][(targets["saliency"] > 0) & ~person_seen]
        assert len(np.unique(objects)) <= 1  # the nearest one alone
        length = np.linalg.norm(targets["normals"], axis=-1)
        assert np.allclose(length[targets["depth"] > 0], 1, atol=1e-5)
        assert not length[targets["depth"] == 0].any()
        for name, target in targets.items():
            expected = TARGETS[name].void(72, 72)
            assert (target.shape, target.dtype) == (expected.shape, expected.dtype)
    assert 15 < people < 30


def test_salient_object_is_the_nearest() -> None:
    for index in range(60):
        made = scene(index)
        objects, depth = made.label > PERSON, -made.solids.centre[:, 2]
        nearest, others = objects & made.salient, objects & ~made.salient
        assert nearest.any()
        assert made.salient[made.label == PERSON].all()
        assert not made.salient[made.label == 0].any()
        if others.any():
            # leaves, legs and backs reach up to 0.5 m from the middle of their thing
            assert depth[nearest].mean() < depth[others].min() + 0.5


def test_people_and_objects_stand_on_the_floor() -> None:
    rng = np.random.default_rng(0)
    things = [OBJECTS[name](rng)[0] for name in OBJECTS] + [person(rng, pose, 1.7, 1.0) for pose in POSES]
    for solids in things:
        reach = np.where(
            solids.kind == ELLIPSOID,
            np.linalg.norm(solids.axes[:, :, 1], axis=1),
            np.abs(solids.axes[:, :, 1]).sum(1),
        )
        assert abs((solids.centre[:, 1] - reach).min()) < 1e-6


def test_people_have_all_parts_and_their_height() -> None:
    standing = person(np.random.default_rng(0), "stand", 1.8, 1.0)
    assert set(standing.part) == set(range(1, 7))
    assert np.isclose((standing.centre[:, 1] + np.linalg.norm(standing.axes[:, :, 1], axis=1)).max(), 1.8, atol=0.06)


def test_rods_run_between_their_ends() -> None:
    rod = rods([[0.0, 1.0, 0.0]], [[1.0, 3.0, 2.0]], 0.2, 0.1)
    assert np.allclose(rod.centre - rod.axes[:, 1], [0, 1, 0])
    assert np.allclose(rod.centre + rod.axes[:, 1], [1, 3, 2])
    assert np.allclose(np.linalg.norm(rod.axes[0, [0, 2]], axis=1), 0.2)
    assert np.allclose(rod.taper, 0.5)
    assert np.allclose(rod.axes[0] @ rod.axes[0].T, np.diag([0.04, 2.25, 0.04]))


# -- the data set ----------------------------------------------------------------------------------------------------
class FakeTask(Task):
    def __init__(self, name: str, kind: TargetKind | None = None, out_channels: int | None = None) -> None:
        self.kind = kind or TARGETS[name]  # type: ignore[misc]
        channels = {"semseg": len(SCENE_CLASSES), "human_parts": len(PART_CLASSES)}
        super().__init__(name, out_channels or channels.get(name, 1), 1.0)


def scenes(length: int = 6, names=tuple(TARGETS), **options) -> Scenes:
    return Scenes({name: FakeTask(name) for name in names}, length, **{"size": (40, 56), **options})


def test_items_are_deterministic() -> None:
    first, again, longer = scenes(), scenes(), scenes(length=9)
    for index in reversed(range(6)):
        item = first[index]
        for other in (again[index], longer[index], first[3, index]):
            assert torch.equal(item["inputs"], other["inputs"])
            assert item["data_samples"].keys() == other["data_samples"].keys()
            for task in TARGETS:
                target = item["data_samples"].target(task)
                assert target is None or torch.equal(target, other["data_samples"].target(task))


def test_splits_and_seeds_share_no_scene() -> None:
    sets = [scenes(split=split, scene_seed=seed) for split in ("train", "val") for seed in (0, 1)]
    pictures = {s[i]["inputs"].numpy().tobytes() for s in sets for i in range(6)}
    assert len(pictures) == 24
    assert sets[0][2]["data_samples"].name == "train-000002"
    assert sets[2][2]["data_samples"].name == "val-000002"


def test_item_has_the_configured_tasks_only() -> None:
    item = scenes(names=("depth", "saliency"))[0]
    assert set(item["data_samples"].keys()) == {"gt_depth", "gt_saliency"}
    assert item["inputs"].shape == (3, 40, 56)
    assert item["data_samples"].ori_shape == (40, 56)


def test_built_from_a_config_with_the_real_tasks() -> None:
    tasks = dict(
        semseg=dict(type="SemanticSegmentation", classes=list(SCENE_CLASSES)),
        human_parts=dict(type="HumanParts", classes=list(PART_CLASSES)),
        saliency=dict(type="Saliency"),
        normals=dict(type="SurfaceNormals"),
    )
    dataset = DATASETS.build(dict(type="Scenes", tasks=tasks, length=4, size=(32, 32), split="val"))
    for index in range(4):
        sample = dataset.load(index)
        for name, target in sample.targets.items():
            dataset.tasks[name].check(target, sample.name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scenes({"flow": FakeTask("flow", TargetKind.CLASSES)}, 4), "task 'flow'.*semseg"),
        (lambda: scenes(split="test"), "split 'test'.*train, val"),
        (lambda: scenes(length=0), "positive length"),
        (lambda: scenes(size=(32, 0)), "positive length and size"),
        (lambda: Scenes({"depth": FakeTask("depth", TargetKind.CLASSES)}, 4), "'depth' as depth"),
        (lambda: Scenes({"semseg": FakeTask("semseg", out_channels=21)}, 4), "9 classes for 'semseg'"),
    ],
)
def test_mistakes_are_explained(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
