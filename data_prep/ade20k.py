"""Download, arrange and check ADE20K (``ADEChallengeData2016.zip``): python data_prep/ade20k.py DATA [--check].

Brings ``images`` and ``annotations`` of ``training`` and ``validation``: 20,210 / 2,000 images.
"""

from __future__ import annotations

import sys
from pathlib import Path

from archives import command_line, run
from completeness import DataSet
from download import Archive

from mtl.datasets.files import list_files
from mtl.engine.command_line import friendly


def names(root: Path, split: str) -> list[str]:
    """Of images and labels: each needs the other."""
    images, labels = (list_files(root / kind / split, (".jpg", ".png")) for kind in ("images", "annotations"))
    return sorted({*images, *labels})


DATA = DataSet(
    name="ADE20K",
    archives=(
        Archive(
            "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            ("images", "annotations"),
        ),
    ),
    level=("images/training", "annotations/training"),
    splits={"training": 20210, "validation": 2000},
    names=names,
    needs=(("images/{split}/{name}.jpg",), ("annotations/{split}/{name}.png",)),
)


@friendly
def main() -> int:
    return run(DATA, command_line(DATA, "Download, arrange and check ADE20K.").parse_args())


if __name__ == "__main__":
    sys.exit(main())
