"""Tiny replicas of published archives: a few images in the true layout, with random labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE = (30, 44)
TRAIN, VAL = ("2008_000001", "2008_000002", "2008_000003"), ("2008_000004", "2008_000005")


def save(array: np.ndarray, path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def save_mat(path: Path, **variables) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables, do_compression=True)


def blocks(rng: np.random.Generator, values, size=SIZE) -> np.ndarray:
    """Rectangles of random values."""
    small = rng.choice(values, (5, 7))
    return small[np.ix_(np.arange(size[0]) * 5 // size[0], np.arange(size[1]) * 7 // size[1])]


def part_annotation(objects: list[tuple[str, int, np.ndarray, dict[str, np.ndarray]]]) -> np.ndarray:
    """PASCAL-Part's nested structs: objects of (class, index, mask, part name to mask)."""
    things = np.zeros((1, len(objects)), [(f, "O") for f in ("class", "class_ind", "mask", "parts")])
    for thing, (name, index, mask, parts) in zip(things[0], objects, strict=True):
        inner = np.zeros((1, len(parts)), [("part_name", "O"), ("mask", "O")])
        for record, (part, part_mask) in zip(inner[0], parts.items(), strict=True):
            record["part_name"], record["mask"] = part, part_mask
        thing["class"], thing["class_ind"], thing["mask"] = name, np.uint8([[index]]), mask
        thing["parts"] = inner if parts else np.zeros((0, 0))
    anno = np.zeros((1, 1), [("imname", "O"), ("objects", "O")])
    anno[0, 0]["imname"], anno[0, 0]["objects"] = "image", things
    return anno


def pascal(root: Path) -> Path:
    """``PASCAL_MT`` with five images; the second has a dog alone, the third a person without parts."""
    for split, names in (("train", TRAIN), ("val", VAL)):
        path = root / "ImageSets" / "Context" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names) + "\n")
    for number, name in enumerate(TRAIN + VAL):
        rng = np.random.default_rng(number)
        save(rng.integers(0, 256, (*SIZE, 3), np.uint8), root / "JPEGImages" / f"{name}.jpg", quality=95)
        folder = "VOC12" if number % 2 else "pascal-context"
        save(blocks(rng, np.uint8([0, 3, 15, 20, 255])), root / "semseg" / folder / f"{name}.png")
        save(rng.integers(0, 256, SIZE, np.uint8), root / "sal_distill" / f"{name}.png")
        save(blocks(rng, np.arange(256, dtype=np.uint8))[..., None].repeat(3, 2), root / "normals_distill" / "x.png")
        levels = rng.integers(1, 256, (*SIZE, 3), np.uint8)
        save(levels, root / "normals_distill" / f"{name}.png")
        # 158 floor and 427 tvmonitor have normals, 360 sky and 1 have none
        save_mat(
            root / "pascal-context" / "trainval" / f"{name}.mat", LabelMap=blocks(rng, np.uint16([158, 427, 360, 1]))
        )
        mask = (rng.random(SIZE) < 0.5).astype(np.uint8)
        parts = {part: (rng.random(SIZE) < 0.3).astype(np.uint8) for part in ("hair", "luarm", "rhand", "torso")}
        person = ("person", 15, mask, {} if number == 2 else parts)
        dog = ("dog", 12, mask, {"torso": mask})
        things = [dog] if number == 1 else [dog, person]
        save_mat(root / "human_parts" / f"{name}.mat", anno=part_annotation(things))
    (root / "normals_distill" / "x.png").unlink()
    return root


def nyud(root: Path, form: str) -> Path:
    """``NYUD_MT`` with five images in the form A, B or C of its archives."""
    for split, names in (("train", TRAIN), ("val", VAL)):
        path = root / "gt_sets" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names) + "\n")
    for number, name in enumerate(TRAIN + VAL):
        rng = np.random.default_rng(number)
        image = "png" if form == "C" else "jpg"
        save(rng.integers(0, 256, (*SIZE, 3), np.uint8), root / "images" / f"{name}.{image}")
        ids, depth = blocks(rng, np.uint8([0, 1, 2, 40])), rng.uniform(0.5, 9, SIZE).astype(np.float32)
        normals = rng.normal(size=(*SIZE, 3)).astype(np.float32)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        normals[:4] = 0
        levels = np.round(127.5 * (normals + 1)).astype(np.uint8)
        for folder in ("depth", "normals"):
            (root / folder).mkdir(exist_ok=True)
        if form == "A":
            save_mat(root / "segmentation" / f"{name}.mat", segmentation=ids)
            save_mat(root / "depth" / f"{name}.mat", depth=depth)
            save(levels, root / "normals" / f"{name}.jpg", quality=100, subsampling=0)
        else:
            save(ids, root / "segmentation" / f"{name}.png")
            np.save(root / "depth" / f"{name}.npy", depth)
            if form == "B":
                np.save(root / "normals" / f"{name}.npy", normals)
            else:
                save(levels, root / "normals" / f"{name}.png")
        save((255 * (rng.random(SIZE) < 0.1)).astype(np.uint8), root / "edge" / f"{name}.png")
    return root
