"""Parameter-efficient adaptation of one frozen vision encoder to several dense tasks."""

import os

from mtl.version import __version__

# albumentations asks the network for a newer version of itself when it is imported
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

__all__ = ["__version__"]
