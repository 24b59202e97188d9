"""Polyhistor: Hyperformer's hypernetworks decomposed into pairs that generate low-rank factors.

Paper: https://arxiv.org/abs/2210.03265, section 4.1, equation 3: ``W_l^t = psi_p(V^t Ŵp_l) psi_q(V^t Ŵq_l)^T``.

Site: parallel to the MLP of every layer (appendix F), ``y = mlp(x) + f(x)`` with x the MLP's normed input;
``placement="sequential"`` puts it behind, ``y + f(y)``, with the same count. f is LayerNorm with generated scale and
shift, down, GELU, up; n = floor(d/λ), r = max(1, floor(n / rank_divisor)). Where a LayerScale follows the MLP (DINOv2)
it scales f too.

Trained, T tasks, k the task embedding's size, per layer of width d:
    (k+1) * (2(d+n)r + n + d + 2d) + (512*128 + 128 + 128*k + k + 2k)
and once the embeddings, T * 512. This is the structure behind the numbers of the paper's tables: down and up each
from their own pair, generators with biases, projected 512-d embeddings.

Departures: the generators of up's second factor and of its bias start at zero and that of the LayerNorm's scale at
one, so that the encoder's output is exactly unchanged at the start and the first gradients are of ordinary size. The
projection of the embeddings starts as `torch.nn.Linear` does, with a LayerNorm of eps 1e-5: the paper does not say, and
there is no public code of it (HyperFormer's: N(0, 0.01) and 1e-6, as in `hyperformer`).
`literal=True` is equation 3 to the letter: V^t of size k, one pair for [down; up^T], no biases, LayerNorm or
projection; per layer k * (d + 2n) * r, once T * k (2.42 M on Swin-T, the paper prints 6.41 M). There the rows of the
second factor that belong to up start at zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl.encoders.sites import Site
from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.methods.bottleneck import (
    EMBEDDING,
    GeneratedBottleneck,
    Generator,
    LowRank,
    Projection,
    bottleneck_width,
    check_embedding,
    embedding_table,
    generator_std,
    layers_of,
    low_rank,
    prefixed,
)
from mtl.registry import METHODS


class BottleneckHypernetwork(nn.Module):
    """``(R, k)`` to the tensors of an adapter of width d, as the tables count them."""

    def __init__(self, k: int, d: int, n: int, rank: int, init: str) -> None:
        super().__init__()
        self.down = LowRank(k, n, d, rank, zero=False, init=init)
        self.down_bias = Generator(k, (n,))
        self.up = LowRank(k, d, n, rank, zero=True, init=init)
        self.up_bias = Generator(k, (d,), std=0.0)
        self.norm = Generator(k, (d,), start=1.0)
        self.norm_bias = Generator(k, (d,))

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        return {
            "down.weight": self.down(embedding),
            "down.bias": self.down_bias(embedding),
            "up.weight": self.up(embedding),
            "up.bias": self.up_bias(embedding),
            "norm.weight": self.norm(embedding),
            "norm.bias": self.norm_bias(embedding),
        }

    @staticmethod
    def count(k: int, d: int, n: int, rank: int) -> int:
        return (k + 1) * (2 * (d + n) * rank + n + d + 2 * d)


class LiteralHypernetwork(nn.Module):
    """``(R, k)`` to [down; up^T], ``(R, d, 2n)``, from one pair without biases (equations 3 and 5)."""

    def __init__(self, k: int, d: int, n: int, rank: int, init: str) -> None:
        super().__init__()
        self.n = n
        std = generator_std(init, k, d, rank)
        self.p = Generator(k, (d, rank), bias=False, std=std)
        self.q = Generator(k, (2 * n, rank), bias=False, std=std)
        with torch.no_grad():
            self.q.weight.view(2 * n, rank, k)[n:].zero_()

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        weight = self.p(embedding) @ self.q(embedding).transpose(1, 2)
        return {"down.weight": weight[..., : self.n].transpose(1, 2), "up.weight": weight[..., self.n :]}

    @staticmethod
    def count(k: int, d: int, n: int, rank: int) -> int:
        return k * (d + 2 * n) * rank


@METHODS.register_module()
class Polyhistor(Method):
    """See the module's docstring.

    Args:
        reduction: λ, the layer's width over the bottleneck's.
        embedding: k, the size of the task embedding that generators see.
        rank_divisor: r = max(1, floor(n / rank_divisor)); the tables' n/2, n/4, n/8.
        rank: r itself, for all layers, instead.
        placement: "parallel" to the MLP or "sequential".
        init: the generators of down and up start N(0, 0.01) ("normal") or so that down keeps the scale of its input
            ("fan_in": faster where the schedule is short).
        literal: equation 3 to the letter.
    """

    per_task = ("tasks",)
    why_not_mergeable = "a bottleneck with a GELU is no linear map"

    def __init__(
        self,
        reduction: float = 16,
        embedding: int = 64,
        rank_divisor: int = 4,
        rank: int | None = None,
        placement: str = "parallel",
        init: str = "normal",
        literal: bool = False,
    ) -> None:
        super().__init__()
        check_embedding(embedding)
        self.reduction = reduction
        self.embedding = embedding
        self.rank_divisor = rank_divisor
        self.rank = rank
        self.placement = placement
        self.init = init
        self.literal = literal

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        sites = layers_of(encoder, "mlp")
        kind = LiteralHypernetwork if self.literal else BottleneckHypernetwork
        self.tasks = embedding_table(len(tasks), self.embedding if self.literal else EMBEDDING)
        self.keys = [site.path for site in sites]
        self.projections = nn.ModuleList([] if self.literal else [Projection(EMBEDDING, self.embedding) for _ in sites])
        self.hypernetworks = nn.ModuleList(kind(self.embedding, *self._size(site), self.init) for site in sites)
        for site in sites:
            self.replace(encoder, site.path, GeneratedBottleneck(self.context, site.path, self.placement))

    def generate(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {}
        for i, (key, hypernetwork) in enumerate(zip(self.keys, self.hypernetworks, strict=True)):
            embedding = self.tasks if self.literal else self.projections[i](self.tasks)
            weights.update(prefixed(key, hypernetwork(embedding)))
        return weights

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        sites, k = layers_of(encoder, "mlp"), self.embedding
        if self.literal:
            return sum(LiteralHypernetwork.count(k, *self._size(site)) for site in sites) + num_tasks * k
        layers = sum(BottleneckHypernetwork.count(k, *self._size(s)) + Projection.count(EMBEDDING, k) for s in sites)
        return layers + num_tasks * EMBEDDING

    def _size(self, site: Site) -> tuple[int, int, int]:
        n = bottleneck_width(site.dim, self.reduction)
        return site.dim, n, low_rank(n, self.rank_divisor, self.rank)
