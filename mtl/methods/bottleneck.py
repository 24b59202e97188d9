"""The bottleneck adapter whose weights its method makes each step, and the hypernetworks that make some.

Shared by every method with bottlenecks. The tensors of one adapter carry the tasks' axis T (1 where tasks share it):

    down.weight (T, n, d)   down.bias (T, n)   up.weight (T, d, n)   up.bias (T, d)
    norm.weight (T, d)      norm.bias (T, d)

Biases and the norm may be absent (the literal form of the hypernetworks' equations has neither).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.encoders.sites import Site, select
from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Adapter, TaskContext
from mtl.registry import choices

EMBEDDING = 512
"""Width of a task's or a layer's learned embedding (HyperFormer's)."""

HIDDEN = 128
"""Width of the hidden layer between an embedding and the generators."""

GENERATOR_STD = 0.01
"""Standard deviation of the generators' weights at the start; their biases start at 0 unless said."""

INITS = ("normal", "fan_in")
"""How generators of low-rank matrices start: at `GENERATOR_STD`, or so that a generated matrix keeps the scale of what
it multiplies (hyperfan-in, https://openreview.net/forum?id=H1lma24tPB)."""

PLACEMENTS = ("parallel", "sequential")


class GeneratedBottleneck(Adapter):
    """A bottleneck adapter without parameters of its own.

    Args:
        key: prefix of its tensors in the context's generated weights.
        placement: "parallel", ``y + f(x)``, or "sequential", ``y + f(y)``, x and y the base module's input and output.
        norm_last: LayerNorm after the up projection (Hyperformer) instead of before the down projection.
        activation: between the projections.
        scale: factor of the result.
    """

    def __init__(
        self,
        context: TaskContext,
        key: str,
        placement: str = "parallel",
        norm_last: bool = False,
        activation: Callable[[Tensor], Tensor] = F.gelu,
        scale: float = 1.0,
    ) -> None:
        super().__init__(context)
        if placement not in PLACEMENTS:
            raise ValueError(f"unknown placement {placement!r}; {choices(PLACEMENTS, placement)}")
        self.key = key
        self.placement = placement
        self.norm_last = norm_last
        self.activation = activation
        self.scale = scale

    def extra_repr(self) -> str:
        return f"{self.placement}, weights generated"

    def post(self, x: Tensor, y: Tensor) -> Tensor:
        change = self.bottleneck(x if self.placement == "parallel" else y)
        return y + (change if self.scale == 1 else self.scale * change)

    def bottleneck(self, x: Tensor) -> Tensor:
        """``(A*B, ..., d)`` to the same shape: norm, down, activation, up, with each active task's weights."""
        h = x.reshape(self.context.index.shape[0], -1, x.shape[-1])
        if not self.norm_last:
            h = self._norm(h)
        h = self._linear(self.activation(self._linear(h, "down")), "up")
        if self.norm_last:
            h = self._norm(h)
        return h.reshape(x.shape)

    def _picked(self, name: str) -> Tensor | None:
        stacked = self.context.generated.get(f"{self.key}.{name}")
        return None if stacked is None else self.context.pick(stacked)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._picked(f"{name}.weight"), self._picked(f"{name}.bias")
        assert weight is not None, f"no weights were generated for {self.key}.{name}"
        y = torch.bmm(x, weight.transpose(1, 2).to(x.dtype))
        return y if bias is None else y + bias.unsqueeze(1).to(y.dtype)

    def _norm(self, x: Tensor) -> Tensor:
        weight, bias = self._picked("norm.weight"), self._picked("norm.bias")
        if weight is None or bias is None:
            return x
        normed = F.layer_norm(x, x.shape[-1:])
        return normed * weight.unsqueeze(1).to(normed.dtype) + bias.unsqueeze(1).to(normed.dtype)


def embedding_table(rows: int, width: int = EMBEDDING) -> nn.Parameter:
    """Learned embeddings ``(rows, width)``, N(0, 1)."""
    return nn.Parameter(torch.randn(rows, width))


class Projection(nn.Sequential):
    """Embedding ``(R, E)`` to what generators take, ``(R, k)``: Linear, ReLU, Linear, LayerNorm (HyperFormer).

    Args:
        std: standard deviation of its weights at the start, its biases then zero; None for `torch.nn.Linear`'s start.
        eps: of the LayerNorm.
    """

    def __init__(self, embedding: int, k: int, std: float | None = None, eps: float = 1e-5) -> None:
        first, second = nn.Linear(embedding, HIDDEN), nn.Linear(HIDDEN, k)
        super().__init__(first, nn.ReLU(), second, nn.LayerNorm(k, eps=eps))
        if std is not None:
            for linear in (first, second):
                nn.init.normal_(linear.weight, std=std)
                nn.init.zeros_(linear.bias)

    @staticmethod
    def count(embedding: int, k: int) -> int:
        return embedding * HIDDEN + HIDDEN + HIDDEN * k + k + 2 * k


class Generator(nn.Linear):
    """A linear hypernetwork: ``(R, k)`` to tensors ``(R, *shape)``.

    Args:
        std: standard deviation of its weights at the start; with 0 it generates ``start`` for every embedding.
        start: its biases at the start.
    """

    def __init__(
        self, k: int, shape: Sequence[int], bias: bool = True, std: float = GENERATOR_STD, start: float = 0.0
    ) -> None:
        super().__init__(k, torch.Size(shape).numel(), bias=bias)
        self.shape = tuple(shape)
        nn.init.normal_(self.weight, std=std)
        if bias:
            nn.init.constant_(self.bias, start)

    def forward(self, embedding: Tensor) -> Tensor:
        return super().forward(embedding).reshape(-1, *self.shape)


class LowRank(nn.Module):
    """A pair of hypernetworks for a matrix of rank r: ``(R, k)`` to ``p q^T``, ``(R, rows, columns)`` (equation 3).

    Args:
        zero: generate zero at the start; the second factor's hypernetwork then starts at zero.
        init: of `INITS`.
    """

    def __init__(self, k: int, rows: int, columns: int, rank: int, zero: bool, init: str = "normal") -> None:
        super().__init__()
        std = generator_std(init, k, columns, rank)
        self.p = Generator(k, (rows, rank), std=std)
        self.q = Generator(k, (columns, rank), std=0.0 if zero else std)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.p(embedding) @ self.q(embedding).transpose(1, 2)


def generator_std(init: str, k: int, fan_in: int, rank: int) -> float:
    """The weights' standard deviation in the hypernetworks of p and q, whose product p q^T maps from ``fan_in``."""
    if init not in INITS:
        raise ValueError(f"unknown init {init!r}; {choices(INITS, init)}")
    # the squared norm of an embedding is k: p and q have the variance k std², their product rank (k std²)² = 1/fan_in
    return GENERATOR_STD if init == "normal" else (rank * fan_in) ** -0.25 * k**-0.5


def prefixed(key: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{key}.{name}": value for name, value in weights.items()}


def bottleneck_width(dim: int, reduction: float, multiple: int = 1) -> int:
    """n = floor(d / λ), or the ``multiple`` below it; `ValueError` where nothing is left of the layer."""
    if reduction <= 0 or dim < reduction:
        raise ValueError(f"reduction must be above 0 and at most the layer's width {dim}, not {reduction}")
    width = int(dim // reduction)
    if not 1 <= multiple <= width:
        raise ValueError(f"p must lie between 1 and the bottleneck's width {width}, not {multiple}")
    return width - width % multiple


def check_embedding(k: int) -> None:
    if k < 1:
        raise ValueError(f"embedding must be at least 1, not {k}")


def low_rank(n: int, divisor: int, rank: int | None) -> int:
    """The rank of generated matrices: ``rank``, or max(1, floor(n / divisor)); at most n."""
    if divisor < 1:
        raise ValueError(f"rank_divisor must be at least 1, not {divisor}")
    if rank is None:
        return max(1, n // divisor)
    if not 1 <= rank <= n:
        raise ValueError(f"rank must lie between 1 and the bottleneck's width {n}, not {rank}")
    return rank


def layers_of(encoder: TimmEncoder, patterns: str | Sequence[str]) -> list[Site]:
    """The sites that `select` finds, all inside of transformer layers; `ValueError` for others, or none."""
    sites = select(encoder.sites(), patterns)
    if not sites:
        raise ValueError("no sites are named for the adapters; such as attn, mlp")
    outside = [site.path for site in sites if site.layer is None]
    if outside:
        raise ValueError(f"an adapter needs a site inside a transformer layer, {outside[0]!r} is not")
    return sites
