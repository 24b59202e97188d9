"""Parameter-efficient adaptation of one frozen vision encoder to several dense tasks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mtl.version import __version__

if TYPE_CHECKING:
    from mtl.engine.predictor import Predictor

# albumentations asks the network for a newer version of itself when it is imported
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

__all__ = ["Predictor", "__version__"]


def __getattr__(name: str) -> Any:
    """`Predictor` when it is first asked for: the package itself stays light to import."""
    if name == "Predictor":
        from mtl.engine.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
