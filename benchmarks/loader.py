"""Images a second that one core loads: python benchmarks/loader.py [--images N] [--size H W]

PASCAL-Context's layout and image size (500 x 375 JPEG) with converted labels of four tasks, the pixels from rendered
scenes; the full recipe (flip, rotation, zoom, resize). Prints the rate and the share of each stage.
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import times
from PIL import Image

from mtl.datasets import PascalContext
from mtl.datasets.base import pack
from mtl.datasets.files import read_image
from mtl.datasets.render import compose, render

TASKS = {
    "semseg": {"type": "SemanticSegmentation", "classes": 21},
    "human_parts": {"type": "HumanParts"},
    "saliency": {"type": "Saliency"},
    "normals": {"type": "SurfaceNormals"},
}
SIZE = (375, 500)


def main() -> None:
    parser = ArgumentParser(description="Time the loading and augmenting of photographs with labels.")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512), metavar=("H", "W"))
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), args.images)
        data = PascalContext(TASKS, root, pipeline=[{"type": "RandomAugment", "size": tuple(args.size)}])
        every = range(len(data))
        loaded = [data.load(i) for i in every]
        moved = [data.pipeline[0](sample, np.random.default_rng(0)) for sample in loaded]
        stages = {
            "image": lambda: [read_image(data.image_path(i)) for i in every],
            **{
                task: lambda task=task: [data.target(i, task) for i in every if data.names[i] in data.labels[task]]
                for task in TASKS
            },
            "augment": lambda: [data.pipeline[0](sample, np.random.default_rng(0)) for sample in loaded],
            "pack": lambda: [pack(sample, SIZE) for sample in moved],
            "whole": lambda: [data[i] for i in every],
        }
        seconds = times(stages, args.rounds)
    whole = seconds.pop("whole")
    print(f"{len(every) / whole:.1f} images/s on one core, {args.size[0]} x {args.size[1]}, four tasks")
    for stage, value in seconds.items():
        print(f"  {stage:12} {1000 * value / len(every):6.2f} ms an image, {100 * value / whole:5.1f} %")


def write(root: Path, images: int) -> Path:
    """The archive's layout with ``images`` pictures and converted labels."""
    folders = {
        "semseg": "semseg/VOC12",
        "human_parts": "mtl_converted/human_parts",
        "saliency": "sal_distill",
        "normals": "mtl_converted/normals",
    }
    for folder in ("JPEGImages", "ImageSets/Context", *folders.values()):
        (root / folder).mkdir(parents=True)
    names = [f"{i:06d}" for i in range(images)]
    (root / "ImageSets" / "Context" / "train.txt").write_text("\n".join(names))
    unlabelled = []
    for i, name in enumerate(names):
        image, targets = render(compose(np.random.default_rng(i)), SIZE)
        noise = np.random.default_rng(i).normal(0, 6, image.shape)
        photo = np.clip(image + noise, 0, 255).astype(np.uint8)  # as large a file as a photograph's
        Image.fromarray(photo).save(root / "JPEGImages" / f"{name}.jpg", quality=90)
        if "human_parts" not in targets:
            unlabelled.append(name)
        stored = {
            "semseg": targets["semseg"],
            "human_parts": targets.get("human_parts"),
            "saliency": 255 * targets["saliency"],
            "normals": np.round(127.5 * (targets["normals"] + 1)).astype(np.uint8),
        }
        for task, array in stored.items():
            if array is not None:
                Image.fromarray(array).save(root / folders[task] / f"{name}.png")
    (root / "mtl_converted" / "human_parts_unlabelled.txt").write_text("\n".join(unlabelled))
    return root


if __name__ == "__main__":
    main()
