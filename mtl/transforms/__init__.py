"""What happens to an image and its targets between the disk and the network: callables ``(sample, rng) -> sample``."""

import os

# albumentations asks PyPI for a newer release whenever it is imported, and waits for the network where there is none
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from mtl.transforms.geometry import RandomAugment, Resize
from mtl.transforms.photometric import Photometric

__all__ = ["Photometric", "RandomAugment", "Resize"]
