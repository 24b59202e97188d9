"""Download, arrange and check NYUD-MT (``NYUD_MT.tgz``): python data_prep/nyud.py DATA [--check].

Brings ``images``, ``gt_sets`` and the labels of four tasks: 795 / 654 images. Archives of it have three forms, told
apart by their files' suffixes; the check takes any of them and names a folder that mixes two.
"""

from __future__ import annotations

import sys
from pathlib import Path

from archives import command_line, run
from completeness import DataSet, read_list
from download import Archive

from mtl.engine.command_line import friendly


def names(root: Path, split: str) -> list[str]:
    return read_list(root / "gt_sets" / f"{split}.txt")


DATA = DataSet(
    name="NYUD-MT",
    archives=(
        Archive(
            "https://data.vision.ee.ethz.ch/kmaninis/share/MTL/NYUD_MT.tgz",
            ("images", "gt_sets"),
        ),
    ),
    level=("images", "gt_sets"),
    splits={"train": 795, "val": 654},
    names=names,
    needs=(
        ("images/{name}.jpg", "images/{name}.png"),
        ("segmentation/{name}.mat", "segmentation/{name}.png"),
        ("normals/{name}.jpg", "normals/{name}.npy", "normals/{name}.png"),
        ("depth/{name}.mat", "depth/{name}.npy"),
        ("edge/{name}.png",),
    ),
    one_form=True,
)


@friendly
def main() -> int:
    return run(DATA, command_line(DATA, "Download, arrange and check NYUD-MT.").parse_args())


if __name__ == "__main__":
    sys.exit(main())
