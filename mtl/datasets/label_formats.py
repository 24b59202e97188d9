"""Label files as the published archives hold them, and what is derived from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.io import loadmat

from mtl.tasks.label_files import read_array, read_image
from mtl.thinning import thin
from mtl.utils.files import open_regular
from mtl.utils.text import printable, reason

_AXES = {"x": 0, "y": 1, "z": 2}
_NEARLY_BLACK = 50
"""No unit vector has all three levels below it: each of its components would be under -0.6."""


def read_mat(path: Path, key: str) -> Any:
    """The variable ``key`` of a MATLAB file; `ValueError` names the file where it is broken or has no such variable."""
    try:
        with open_regular(path) as file:
            found = loadmat(file, variable_names=[key])
    except Exception as error:  # a cut file fails in zlib, struct or numpy
        raise ValueError(f"cannot read the label {printable(path)}: {reason(error)}") from error
    if key not in found:
        raise ValueError(f"the label {path} has no variable {key!r}")
    return found[key]


def label_edges(labels: np.ndarray) -> np.ndarray:
    """Boundaries of a label map ``(H, W)`` as thin lines, uint8 0 and 1: where its Laplacian is not 0, thinned."""
    return thin(cv2.Laplacian(labels, cv2.CV_64F) != 0).astype(np.uint8)


def parse_axes(axes: str, owner: str) -> tuple[list[int], list[bool]]:
    """ "x,-y,z" (the stored right, up and to the viewer) as channels and which of them are negated."""
    parts = [part.strip() for part in axes.split(",")] if isinstance(axes, str) else []
    if sorted(part.lstrip("-") for part in parts) != ["x", "y", "z"] or any(len(part) > 2 for part in parts):
        raise ValueError(f'{owner}: axes name the stored right, up and to the viewer, such as "x,-y,z"; got {axes!r}')
    return [_AXES[part[-1]] for part in parts], [part.startswith("-") for part in parts]


def read_normal_levels(path: Path, axes: str) -> np.ndarray:
    """An image of normals ``(H, W, 3)`` uint8 with its axes turned to x right, y up, z to the viewer; void is black."""
    order, negated = parse_axes(axes, str(path))
    levels = read_image(path, channels=3)
    # a JPEG keeps black near a label only roughly
    void = levels.max(-1) < (_NEARLY_BLACK if path.suffix.lower() in (".jpg", ".jpeg") else 1)
    turned = levels[..., order]
    # 2 (255 - v) / 255 - 1 = -(2 v / 255 - 1)
    turned[..., negated] = 255 - turned[..., negated]
    turned[void] = 0
    return turned


def read_normal_array(path: Path, axes: str) -> np.ndarray:
    """A ``.npy`` of normals as ``(H, W, 3)`` float32 unit vectors in our axes; void, and what is no vector, is zero."""
    order, negated = parse_axes(axes, str(path))
    normals = read_array(path)
    if normals.ndim != 3 or normals.shape[2] != 3 or normals.dtype.kind != "f":
        raise ValueError(f"{path}: normals are (H, W, 3) floats, not {normals.shape} {normals.dtype}")
    normals = np.nan_to_num(normals.astype(np.float32), nan=0, posinf=0, neginf=0)[..., order]
    normals[..., negated] *= -1
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where(length < 0.1, np.float32(0), normals / np.maximum(length, 0.1))
