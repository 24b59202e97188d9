"""What happens to an image and its targets between the disk and the network: callables ``(sample, rng) -> sample``."""

from mtl.transforms.geometry import RandomAugment, Resize
from mtl.transforms.photometric import Photometric

__all__ = ["Photometric", "RandomAugment", "Resize"]
