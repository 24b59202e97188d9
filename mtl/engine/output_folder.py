"""The folder that predictions go to: never over other files, and over earlier predictions only when asked.

``predictions.json`` marks it and says which input each name is of.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl.engine.files import replacing
from mtl.engine.inputs import Input
from mtl.engine.schema import read_manifest

MANIFEST = "predictions.json"
"""The input of each name, and what could not be used."""

SHEET = "contact_sheet.png"


def check_folder(out: Path, overwrite: bool, inputs: Sequence[Input]) -> dict[str, Any]:
    """What an earlier prediction says of itself in ``out``; `ValueError` where nothing may be written there."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; the outputs need a folder")
    if not out.exists() or not any(out.iterdir()):
        return {}
    if not overwrite:
        raise ValueError(f"{out} is not empty: --overwrite replaces an earlier prediction, another --out keeps it")
    for item in inputs:
        if item.path.resolve().is_relative_to(out.resolve()):
            raise ValueError(f"the input {item.path} lies in {out}, whose contents --overwrite replaces")
    try:
        return read_manifest(out / MANIFEST)
    except ValueError as error:
        raise ValueError(
            f"{out} holds no earlier prediction ({MANIFEST}: {error}), so that nothing there is replaced; give another "
            "--out"
        ) from error


def claim_folder(out: Path, overwrite: bool, inputs: Sequence[Input], tasks: Sequence[str]) -> None:
    """Remove an earlier prediction of ``out`` if that is wanted, and mark the folder as one of ``tasks``."""
    earlier = check_folder(out, overwrite, inputs)
    for name in [*earlier["tasks"], "raw"] if earlier else []:
        shutil.rmtree(out / name, ignore_errors=True)
    (out / SHEET).unlink(missing_ok=True)
    write_manifest(out, {"tasks": list(tasks)})


def write_manifest(out: Path, content: Mapping[str, Any]) -> None:
    # escaped: a name that is not UTF-8, as old archives bring, cannot be encoded
    with replacing(out / MANIFEST) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
