"""Where hypernetworks start."""

from __future__ import annotations

import pytest
import torch
from conftest import attached

from mtl.methods.polyhistor import BottleneckHypernetwork, LiteralHypernetwork

K, D, N, RANK = 64, 384, 96, 24


def embeddings(rows: int = 8) -> torch.Tensor:
    return torch.nn.functional.layer_norm(torch.randn(rows, K), (K,))


@pytest.mark.parametrize("kind", [BottleneckHypernetwork, LiteralHypernetwork])
def test_fan_in_keeps_the_scale_of_the_input(kind):
    torch.manual_seed(0)
    down = kind(K, D, N, RANK, "fan_in")(embeddings())["down.weight"]
    hidden = torch.einsum("bd,tnd->tbn", torch.randn(256, D), down)
    # one over the input's width, and so an output of the input's scale; ranks of 24 vary by some 10 %
    assert down.var().item() == pytest.approx(1 / D, rel=0.25)
    assert hidden.std().item() == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("kind", [BottleneckHypernetwork, LiteralHypernetwork])
def test_normal_starts_where_hyperformer_does(kind):
    torch.manual_seed(0)
    hypernetwork = kind(K, D, N, RANK, "normal")
    factor = hypernetwork.p if kind is LiteralHypernetwork else hypernetwork.down.p
    assert factor.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_hyperformers_projections_start_as_the_authors_do():
    """N(0, 0.01) with biases of zero; Polyhistor's as `torch.nn.Linear`: uniform within the root of 1/inputs."""
    starts = {"Hyperformer": (0.01, 0.01, 0.0), "Polyhistor": ((3 * 512) ** -0.5, (3 * 128) ** -0.5, (3 * 128) ** -0.5)}
    for name, (first_std, second_std, bias_std) in starts.items():
        torch.manual_seed(0)
        _, method = attached("swin", {"type": name})
        parts = method.projections.values() if name == "Hyperformer" else method.projections
        first, second = (torch.cat([part[i].weight.flatten() for part in parts]) for i in (0, 2))
        bias = torch.cat([part[2].bias for part in parts])
        assert first.std().item() == pytest.approx(first_std, rel=0.01)
        assert second.std().item() == pytest.approx(second_std, rel=0.02)
        assert bias.std().item() == pytest.approx(bias_std, rel=0.1, abs=0)


def test_an_unknown_start_names_the_valid_ones():
    with pytest.raises(ValueError, match=r"unknown init 'fan_out'.*fan_in, normal"):
        attached("swin", {"type": "Polyhistor", "init": "fan_out"})
