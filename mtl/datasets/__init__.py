"""Data sets, one file each; importing the package registers them and the samplers."""

from mtl.datasets.ade20k import ADE20K
from mtl.datasets.base import MultiTaskDataset
from mtl.datasets.blocks import Blocks
from mtl.datasets.coco import COCO
from mtl.datasets.folder import FolderDataset
from mtl.datasets.nyud import NYUD
from mtl.datasets.pascal_context import PascalContext
from mtl.datasets.samplers import EpochSampler
from mtl.datasets.scenes import Scenes

__all__ = [
    "ADE20K",
    "COCO",
    "NYUD",
    "Blocks",
    "EpochSampler",
    "FolderDataset",
    "MultiTaskDataset",
    "PascalContext",
    "Scenes",
]
