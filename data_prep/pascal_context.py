"""Download, arrange and check PASCAL-Context (``PASCAL_MT.tgz``): python data_prep/pascal_context.py DATA [--check].

Brings ``JPEGImages``, ``ImageSets/Context`` and the labels of five tasks: 4,998 / 5,105 images.
"""

from __future__ import annotations

import sys
from pathlib import Path

from archives import Archive, DataSet, command_line, read_list, run

from mtl.engine.command_line import friendly


def names(root: Path, split: str) -> list[str]:
    return read_list(root / "ImageSets" / "Context" / f"{split}.txt")


DATA = DataSet(
    name="PASCAL-Context",
    archives=(Archive("https://data.vision.ee.ethz.ch/kmaninis/share/MTL/PASCAL_MT.tgz", ("ImageSets", "JPEGImages")),),
    level=("JPEGImages", "ImageSets"),
    splits={"train": 4998, "val": 5105},
    names=names,
    needs=(
        ("JPEGImages/{name}.jpg",),
        ("semseg/VOC12/{name}.png", "semseg/pascal-context/{name}.png"),
        ("human_parts/{name}.mat",),
        ("sal_distill/{name}.png",),
        ("normals_distill/{name}.png",),
        ("pascal-context/trainval/{name}.mat",),
    ),
)


@friendly
def main() -> int:
    parser = command_line(DATA, "Download, arrange and check PASCAL-Context.")
    return run(DATA, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
