"""COCO 2017 (Lin et al., ECCV 2014, arXiv 1405.0312): semantic segmentation from the instance annotations."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mtl.datasets.base import Transform, check_tasks
from mtl.datasets.files import FileDataset, Leftover, normal
from mtl.datasets.layout import check_level
from mtl.registry import DATASETS, choices
from mtl.structures import VOID, TargetKind
from mtl.tasks.base import Task
from mtl.utils.files import open_regular
from mtl.utils.text import some_of

SPLITS = ("train", "val")

_DECIMALS = 3
"""Coordinates are kept in float32 and rounded to these decimals in float64: as they were written, below 8192."""

_FARTHEST = 1e6
"""Pixels; pycocotools walks along a polygon's sides and crashes where one is not finite or very long."""


@DATASETS.register_module()
class COCO(FileDataset):
    """118,287 and 5,000 images; serves the task ``semseg``: background (0) and 80 things (1..80).

    ::

        root/{train,val}2017/<name>.jpg
        root/annotations/instances_{train,val}2017.json

    Ids follow the order of the json's categories. Masks are drawn when an image is loaded: ``iscrowd`` regions first,
    as void (255), then the objects from the largest to the smallest ``area``, so that the smaller one shows where two
    overlap. An image without annotations is all background.

    Args:
        tasks: ``semseg`` or none.
        root: the folder with ``annotations``.
        split: ``train`` or ``val``.
        pipeline: the transforms.
        seed: of the transforms' random numbers.
        images: folder of the images in the root; ``{split}`` stands for the split.
        annotations: json of the instances in the root, in COCO's format; ``{split}`` stands for the split.
    """

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any] | Task],
        root: str | Path,
        split: str = "train",
        pipeline: Sequence[Mapping[str, Any] | Transform] = (),
        seed: int = 0,
        images: str = "{split}2017",
        annotations: str = "annotations/instances_{split}2017.json",
    ) -> None:
        super().__init__(tasks, root, pipeline, seed)
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; {choices(SPLITS, split)}")
        folder, file = images.format(split=split), annotations.format(split=split)
        check_level(self.root, [folder, str(Path(file).parent)], "COCO")
        self.instances = Instances(self.root / file)
        classes = 1 + len(self.instances.categories)
        check_tasks("COCO", self.tasks, {"semseg": TargetKind.CLASSES}, {"semseg": classes})
        files = self.instances.files
        there = {normal(file): file for file in os.listdir(self.root / folder)}
        lost = [name for name in files if normal(name) not in there]
        if lost:
            raise ValueError(
                f"{len(lost)} of {len(files)} images of {self.root / file} are not in {self.root / folder}: "
                f"{some_of(lost)}; data_prep/coco.py --check lists what is missing"
            )
        names = [os.path.splitext(name)[0] for name in files]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.root / file} has two images of one name")
        unknown = set(there) - {normal(name) for name in files}
        self._set_files(
            {name: f"{folder}/{there[normal(image)]}" for name, image in zip(names, files, strict=True)},
            {task: dict.fromkeys(names, file) for task in self.tasks},
            leftovers=[Leftover(f"files of {self.root / folder} that are not in {file}", tuple(sorted(unknown)))],
        )

    def target(self, index: int, task: str, size: tuple[int, ...] | None = None) -> np.ndarray:
        """The image's classes drawn from its instances, ``(H, W)`` uint8; `ValueError` where it is not of ``size``."""
        drawn = self.instances.draw(index)
        if size is not None and drawn.shape != tuple(size):
            raise ValueError(
                f"{self.instances.path} says {drawn.shape[0]} x {drawn.shape[1]} of {self.images[index]}, the image "
                f"is {size[0]} x {size[1]} (height x width, as displayed)"
            )
        return drawn


class Instances:
    """The instances of a json in COCO's format, kept in a few flat arrays that forked workers share.

    Args:
        path: the json. It is read one annotation at a time: its text is the most that is in memory beside the arrays.

    Attributes:
        categories: names in the json's order; the i-th has the class id i + 1.
        files: the images' file names in the json's order.

    Raises:
        ValueError: naming the file and what is wrong with it, or pycocotools where that is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mask = _pycocotools()
        self.categories: list[str] = []
        self.files: list[str] = []
        self._points = array("f")
        self._ring_ends = array("q")
        self._object_ends = array("q")
        """How many rings there are up to and with each object."""
        self._rle: dict[int, dict[str, Any]] = {}
        """Of the objects without rings."""
        try:
            self._read()
        except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
            what = f"without {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path} is not in COCO's format: an entry {what}") from error

    def _read(self) -> None:
        sizes, image_ids = array("i"), array("q")
        owners, classes, areas, crowds = array("q"), array("q"), array("d"), array("b")
        ids: dict[int, int] = {}
        for key, entry in _entries(self.path):
            if key == "images":
                self.files.append(entry["file_name"])
                sizes.extend((entry["height"], entry["width"]))
                image_ids.append(entry["id"])
            elif key == "categories":
                if entry["id"] in ids:
                    raise ValueError(f"{self.path} has two categories of the id {entry['id']}")
                ids[entry["id"]] = len(ids) + 1
                self.categories.append(entry["name"])
            elif key == "annotations":
                owners.append(entry["image_id"])
                classes.append(entry["category_id"])
                areas.append(entry["area"])
                crowds.append(entry.get("iscrowd", 0))
                self._keep(entry["segmentation"])
        for part, entries in {"images": self.files, "categories": ids, "annotations": owners}.items():
            if not entries:  # an image without annotations is all background, a json without any is another one
                raise ValueError(f"{self.path} has no {part}: it is no instances json")
        if len(ids) >= VOID:
            raise ValueError(f"{self.path} has {len(ids)} categories; class ids end at {VOID - 1}")
        unknown = set(classes) - set(ids)
        if unknown:
            raise ValueError(f"{self.path} has annotations of the category {min(unknown)}, which is none of its own")
        self.sizes = np.array(sizes, np.int32).reshape(-1, 2)
        labels = np.array([ids[c] for c in classes], np.uint8)
        labels[np.array(crowds, bool)] = VOID
        known = np.array(image_ids, np.int64)
        order = np.argsort(known)
        if len(np.unique(known)) < len(known):
            raise ValueError(f"{self.path} has two images of one id")
        of = np.array(owners, np.int64)
        place = np.searchsorted(known, of, sorter=order).clip(max=len(known) - 1)
        image = order[place]
        if (known[image] != of).any():
            raise ValueError(f"{self.path} has annotations of the image {of[known[image] != of][0]}, which it lacks")
        # crowds first, then by falling area; the json's order decides between equals
        self._order = np.lexsort((-np.array(areas), labels != VOID, image)).astype(np.int32)
        self._starts = np.searchsorted(image[self._order], np.arange(len(known) + 1)).astype(np.int32)
        self._labels = labels
        self._coordinates = np.frombuffer(self._points, np.float32)
        for end in (self._coordinates.min(initial=0), self._coordinates.max(initial=0)):
            if not abs(end) <= _FARTHEST:
                raise ValueError(f"{self.path} has a polygon with a corner at {end}; coordinates are pixels")

    def _keep(self, segmentation: Any) -> None:
        """Append the polygons, or the run lengths, of one object."""
        if isinstance(segmentation, Mapping):
            rle = dict(segmentation)
            if isinstance(rle["counts"], list):
                counts, (height, width) = rle["counts"], rle["size"]
                if min(counts, default=0) < 0 or sum(counts) != height * width:
                    raise ValueError(
                        f"{self.path} has run lengths that do not add up to their {height} x {width} pixels"
                    )
                rle = self._mask.frPyObjects(rle, *rle["size"])
            self._rle[len(self._object_ends)] = rle
        else:
            for ring in segmentation:
                # pycocotools takes a list of four for a box
                if len(ring) < 6 or len(ring) % 2:
                    raise ValueError(f"{self.path} has a polygon of {len(ring)} numbers; it takes x, y of three points")
                self._points.extend(ring)
                self._ring_ends.append(len(self._points))
        self._object_ends.append(len(self._ring_ends))

    def draw(self, index: int) -> np.ndarray:
        """Classes of image ``index``, ``(H, W)`` uint8: 0 background, 255 crowds."""
        height, width = (int(n) for n in self.sizes[index])
        drawn = np.zeros((height, width), np.uint8)
        for i in self._order[self._starts[index] : self._starts[index + 1]].tolist():
            mask = self._object(i, height, width)
            if mask is not None:
                drawn[mask] = self._labels[i]
        return drawn

    def _object(self, i: int, height: int, width: int) -> np.ndarray | None:
        if i in self._rle:
            rle = self._rle[i]
            if list(rle["size"]) != [height, width]:
                raise ValueError(f"{self.path} has run lengths of {rle['size']} in an image of {[height, width]}")
            return self._mask.decode(rle).astype(bool)
        first, last = (self._object_ends[i - 1] if i else 0), self._object_ends[i]
        rings = []
        for ring in range(first, last):
            begin = self._ring_ends[ring - 1] if ring else 0
            points = self._coordinates[begin : self._ring_ends[ring]].astype(np.float64)
            rings.append(points.round(_DECIMALS).tolist())
        if not rings:
            return None
        return self._mask.decode(self._mask.merge(self._mask.frPyObjects(rings, height, width))).astype(bool)


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of the lists at the top of a json as (key, entry), decoded one at a time."""
    if not path.is_file():
        found = sorted(p.name for p in path.parent.glob("*.json"))
        raise ValueError(f"there are no annotations at {path}; {path.parent} has: {', '.join(found) or 'none'}")
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8")
        yield from _walk(text)
    except (json.JSONDecodeError, UnicodeDecodeError, IndexError) as error:
        raise ValueError(f"{path} is broken or cut off: {error}") from error


def _walk(text: str) -> Iterator[tuple[str, Any]]:
    decode = json.JSONDecoder().raw_decode

    def skip(at: int) -> int:
        while text[at] in " \t\r\n":
            at += 1
        return at

    def expect(at: int, wanted: str) -> int:
        at = skip(at)
        if text[at] not in wanted:
            raise json.JSONDecodeError(f"expected one of {wanted!r}", text, at)
        return at + 1

    at = expect(0, "{")
    while True:
        key, at = decode(text, skip(at))
        at = skip(expect(at, ":"))
        if text[at] == "[":
            at = skip(at + 1)
            while text[at] != "]":
                entry, at = decode(text, at)
                yield key, entry
                at = expect(at, ",]") - 1
                at = skip(at + 1) if text[at] == "," else at
            at += 1
        else:
            _, at = decode(text, at)
        at = expect(at, ",}")
        if text[at - 1] == "}":
            return


def _pycocotools() -> ModuleType:
    try:
        from pycocotools import mask
    except ImportError:
        raise ValueError('COCO\'s masks are decoded by pycocotools: pip install "mtl[coco]"') from None
    return mask
