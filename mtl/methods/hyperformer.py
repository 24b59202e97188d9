"""Hyperformer: one hypernetwork per layer writes every task's adapters.

Paper: https://arxiv.org/abs/2106.04489 (NLP), in the form of the Polyhistor benchmark,
https://arxiv.org/abs/2210.03265, equation 2: ``W_l^t = psi(V^t Ŵ_l)``.

Sites: after attention and after the MLP of every layer (``sites=("attn", "mlp")``, the Swin-T rows of the tables);
``sites="mlp"`` is the one place of the Swin-B, PVT and MoBY rows. Each adapter is down, GELU, up, LayerNorm with
generated scale and shift, residual; n = floor(d/λ).

Trained, T tasks, k the task embedding's size, per layer of width d:
    places * (k+1) * (2dn + n + d + 2d) + (512*128 + 128 + 128*k + k + 2k)
and once the embeddings, T * 512.

As in the authors' code, all weights but those named below start N(0, 0.01) and biases at zero, and the LayerNorm of the
embeddings' projection has an eps of 1e-6.

Departures: the generators of the LayerNorm's scale and shift start at zero, so that the encoder's output is exactly
unchanged at the start (HyperFormer starts near it).
`literal=True` is equation 2 to the letter: the embedding V^t of size k meets the generator of [down; up^T] directly,
without biases, LayerNorm and projection; per layer places * k * 2dn, once T * k; up starts at zero.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.methods.bottleneck import (
    EMBEDDING,
    GENERATOR_STD,
    GeneratedBottleneck,
    Generator,
    Projection,
    bottleneck_width,
    check_embedding,
    embedding_table,
    layers_of,
    prefixed,
)
from mtl.registry import METHODS

PROJECTION_EPS = 1e-6
"""Of the LayerNorm that ends the projection of a task's embedding."""


class _Hypernetwork(nn.Module):
    """``(T, k)`` to the tensors of one adapter."""

    def __init__(self, k: int, d: int, n: int, literal: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"down": Generator(k, (n, d), bias=not literal)})
        if literal:
            self.parts["up"] = Generator(k, (d, n), bias=False, std=0.0)
            return
        self.parts["down_bias"] = Generator(k, (n,))
        self.parts["up"] = Generator(k, (d, n))
        self.parts["up_bias"] = Generator(k, (d,))
        self.parts["norm"] = Generator(k, (d,), std=0.0)
        self.parts["norm_bias"] = Generator(k, (d,), std=0.0)

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        names = {name: name.replace("_bias", ".bias") for name in self.parts}
        return {
            key if key.endswith(".bias") else f"{key}.weight": self.parts[name](embedding)
            for name, key in names.items()
        }


@METHODS.register_module()
class Hyperformer(Method):
    """See the module's docstring.

    Args:
        reduction: λ, the layer's width over the bottleneck's.
        embedding: k, the size of the task embedding that generators see.
        sites: where adapters follow.
        literal: equation 2 to the letter.
    """

    per_task = ("tasks",)
    why_not_mergeable = "a bottleneck with a GELU is no linear map"

    def __init__(
        self,
        reduction: float = 8,
        embedding: int = 64,
        sites: str | Sequence[str] = ("attn", "mlp"),
        literal: bool = False,
    ) -> None:
        super().__init__()
        check_embedding(embedding)
        self.reduction = reduction
        self.embedding = embedding
        self.sites = sites
        self.literal = literal

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        sites = layers_of(encoder, self.sites)
        self.tasks = embedding_table(len(tasks), self.embedding if self.literal else EMBEDDING)
        layers = sorted({site.layer for site in sites if site.layer is not None})
        self.keys = [(str(site.layer), site.path) for site in sites]
        self.projections = nn.ModuleDict()
        if not self.literal:
            options = (EMBEDDING, self.embedding, GENERATOR_STD, PROJECTION_EPS)
            self.projections.update({str(layer): Projection(*options) for layer in layers})
        self.hypernetworks = nn.ModuleList(
            _Hypernetwork(self.embedding, s.dim, bottleneck_width(s.dim, self.reduction), self.literal) for s in sites
        )
        for site in sites:
            adapter = GeneratedBottleneck(self.context, site.path, "sequential", norm_last=True)
            self.replace(encoder, site.path, adapter)

    def generate(self) -> dict[str, Tensor]:
        embeddings = {layer: projection(self.tasks) for layer, projection in self.projections.items()}
        weights: dict[str, Tensor] = {}
        for (layer, path), hypernetwork in zip(self.keys, self.hypernetworks, strict=True):
            weights.update(prefixed(path, hypernetwork(embeddings.get(layer, self.tasks))))
        return weights

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        sites, k = layers_of(encoder, self.sites), self.embedding
        sizes = [(site.dim, bottleneck_width(site.dim, self.reduction)) for site in sites]
        if self.literal:
            return sum(k * 2 * d * n for d, n in sizes) + num_tasks * k
        generators = sum((k + 1) * (2 * d * n + n + d + 2 * d) for d, n in sizes)
        layers = len({site.layer for site in sites})
        return generators + layers * Projection.count(EMBEDDING, k) + num_tasks * EMBEDDING
