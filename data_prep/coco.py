"""Download, arrange and check COCO 2017 (two zips of images, one of annotations): python data_prep/coco.py DATA.

Brings ``train2017``, ``val2017`` and ``annotations``: 118,287 / 5,000 images, 19 GB to download. ``--check`` reads the
annotations as training does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from archives import command_line, run
from completeness import DataSet
from download import Archive

from mtl.datasets.coco import Instances
from mtl.engine.command_line import friendly

_SITE = "http://images.cocodataset.org"


def names(root: Path, split: str) -> list[str]:
    files = Instances(root / "annotations" / f"instances_{split}2017.json").files
    return [os.path.splitext(file)[0] for file in files]


DATA = DataSet(
    name="COCO 2017",
    archives=(
        Archive(f"{_SITE}/annotations/annotations_trainval2017.zip", ("annotations",)),
        Archive(f"{_SITE}/zips/val2017.zip", ("val2017",)),
        Archive(f"{_SITE}/zips/train2017.zip", ("train2017",)),
    ),
    level=("annotations", "val2017"),
    splits={"train": 118287, "val": 5000},
    names=names,
    needs=(("{split}2017/{name}.jpg",),),
)


@friendly
def main() -> int:
    return run(DATA, command_line(DATA, "Download, arrange and check COCO 2017.").parse_args())


if __name__ == "__main__":
    sys.exit(main())
