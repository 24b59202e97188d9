"""From predictions to the numbers of a table: metrics over the set, and Δm against single-task models."""

from mtl.evaluation.delta_m import delta_m, load_single_task, references
from mtl.evaluation.metric import MultiTaskMetric

__all__ = ["MultiTaskMetric", "delta_m", "load_single_task", "references"]
