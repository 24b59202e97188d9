"""Dense tasks, one file each: target, loss, metric and picture; importing the package registers them."""

from mtl.tasks.base import Task
from mtl.tasks.depth import Depth
from mtl.tasks.edge import Edge
from mtl.tasks.human_parts import HumanParts
from mtl.tasks.normals import SurfaceNormals
from mtl.tasks.saliency import Saliency
from mtl.tasks.semseg import SemanticSegmentation

__all__ = ["Depth", "Edge", "HumanParts", "Saliency", "SemanticSegmentation", "SurfaceNormals", "Task"]
