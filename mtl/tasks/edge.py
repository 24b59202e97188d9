"""Edge detection: the probability that a pixel lies on a boundary; weighted BCE, and the optimal-dataset F-measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from mtl.registry import TASKS
from mtl.structures import VOID, TargetKind
from mtl.tasks.base import Reduce, Task, no_reduce
from mtl.tasks.binary import balanced_cross_entropy, binary_legend, draw_binary, predict_probability
from mtl.tasks.edge_matching import matches, suppress
from mtl.tasks.label_files import check_class_ids, read_image
from mtl.thinning import thin


@TASKS.register_module()
class Edge(Task):
    """Mask in (grey or 1-bit, edge where v / 255 > 0.5); ``(H, W)`` float32 probabilities out. Lines are thin.

    Metrics in %, after the BSDS benchmark (Martin et al., PAMI 2004), without MATLAB:

    - ``odsF``: F = 2PR / (P + R) of the pixels of the whole set at the best of the ``thresholds`` for all images;
    - ``oisF``: the same with each image at its own best threshold.

    The probabilities are reduced to the maxima across each edge, thresholded (strict >) and thinned; the labels are
    thinned too. A predicted pixel is right where a labelled one of its own lies within ``tolerance`` times the image's
    diagonal. The pairing is `edge_matching.matches`: a heuristic in place of the benchmark's assignment, which finds
    some 2 % fewer pairs, so that numbers come out slightly lower than MATLAB's.

    Args:
        name: the task's key.
        loss_weight: weight of the loss.
        positive_weight: weight of the edge pixels in the loss; the others have the rest to 1.
        tolerance: as a share of the image's diagonal; 0.0075 is BSDS's, 0.011 usual on NYUD.
        thresholds: how many, evenly spaced between 0 and 1.
    """

    kind = TargetKind.EDGES
    metric = "odsF"
    unit = "%"

    def __init__(
        self,
        name: str = "edge",
        loss_weight: float = 50.0,
        positive_weight: float = 0.95,
        tolerance: float = 0.0075,
        thresholds: int = 33,
    ) -> None:
        super().__init__(name, out_channels=1, loss_weight=loss_weight)
        if not 0 < positive_weight < 1:
            raise ValueError(f"{name}: positive_weight lies between 0 and 1, not {positive_weight}")
        if not 0 < tolerance < 0.1:
            raise ValueError(f"{name}: tolerance is a share of the diagonal between 0 and 0.1, not {tolerance}")
        if thresholds < 1:
            raise ValueError(f"{name}: at least one threshold is needed, not {thresholds}")
        self.positive_weight = positive_weight
        self.tolerance = tolerance
        self.thresholds = np.linspace(0, 1, thresholds + 2)[1:-1]

    def read(self, path: Path) -> np.ndarray:
        return (read_image(path, channels=1, levels=True) > 127).astype(np.uint8)

    def check(self, target: np.ndarray, where: str) -> None:
        check_class_ids(target, 2, where)

    def label_hint(self) -> str:
        return "grey levels above 127 are edges: an edge is stored as 255, not as 1"

    def loss(self, logits: Tensor, target: Tensor, reduce: Reduce = no_reduce) -> Tensor:
        """[w Σ_pos + (1 - w) Σ_neg] / labelled pixels of the binary cross-entropy, w = ``positive_weight``."""
        return balanced_cross_entropy(logits, target, reduce, self.positive_weight)

    def predict(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return predict_probability(logits, size)

    def measure(self, prediction: Tensor, target: Tensor) -> Mapping[str, np.ndarray] | None:
        truth = target.cpu().numpy()
        if (truth == VOID).all():
            return None
        lines = thin(truth == 1)
        maxima = np.where(truth == VOID, np.float32(0), suppress(prediction.float().cpu().numpy()))
        radius = self.tolerance * float(np.hypot(*truth.shape))
        found, drawn = [], []
        for threshold in self.thresholds:
            predicted = thin(maxima > threshold)
            found.append(matches(predicted, lines, radius))
            drawn.append(int(predicted.sum()))
        return {"matched": np.array(found), "predicted": np.array(drawn), "labelled": np.array(lines.sum())}

    def summarise(self, statistics: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
        if not statistics:
            return {"odsF": float("nan"), "oisF": float("nan")}
        matched, predicted = (np.array([s[key] for s in statistics]) for key in ("matched", "predicted"))
        labelled = np.array([s["labelled"] for s in statistics])
        together = _f_measure(matched.sum(0), predicted.sum(0), labelled.sum())
        best = _f_measure(matched, predicted, labelled[:, None]).argmax(1)
        rows = np.arange(len(best))
        own = _f_measure(matched[rows, best].sum(), predicted[rows, best].sum(), labelled.sum())
        return {"odsF": 100 * float(together.max()), "oisF": 100 * float(own)}

    def draw(self, value: np.ndarray) -> np.ndarray:
        return draw_binary(value)

    def legend(self) -> list[tuple[str, tuple[int, int, int]]]:
        return binary_legend("edge")


def _f_measure(matched: np.ndarray, predicted: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """2PR / (P + R) = 2 matched / (predicted + labelled); 0 where there is neither a prediction nor a label."""
    return 2 * matched / np.maximum(predicted + labelled, 1)
