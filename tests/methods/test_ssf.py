"""SSF against scales and shifts that hooks put on a plain encoder by hand."""

from __future__ import annotations

import re
from functools import partial
from itertools import product

import pytest
import torch
from conftest import SMALL_ENCODERS, attached, small_encoder
from test_contract import disturb, images, run
from torch import nn

from mtl.methods.ssf import ScaleShift
from mtl.registry import METHODS

_BLOCK = r"(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)"
_PVT_BLOCK = r"(norm1|norm2|attn\.(q|kv|proj|sr|norm)|mlp\.(fc1|fc2|dwconv))"
_CONVNEXT_BLOCK = r"(conv_dw|norm|mlp\.fc1|mlp\.fc2)"

# the modules whose outputs are scaled and shifted by default, by timm's names, and how many there are
PLACES = {
    "vit": (rf"patch_embed\.proj|blocks\.\d\.{_BLOCK}", 1 + 4 * 6),
    "deit": (rf"patch_embed\.proj|blocks\.\d\.{_BLOCK}", 1 + 4 * 6),
    "dinov2": (rf"patch_embed\.proj|blocks\.\d\.{_BLOCK}", 1 + 4 * 6),
    "swin": (rf"patch_embed\.(proj|norm)|layers\.\d\.blocks\.\d\.{_BLOCK}", 2 + 7 * 6),
    # four layers reduce keys and values
    "pvt": (rf"patch_embed1\.(proj|norm)|block\d\.\d\.{_PVT_BLOCK}", 2 + 5 * 7 + 4 * 2),
    "pvt_v2": (
        rf"patch_embed\.(proj|norm)|stages\.\d\.(norm|blocks\.\d\.{_PVT_BLOCK})",
        2 + 4 + 5 * 8 + 4 * 2,
    ),
    # the last one is the last block itself
    "convnext": (
        rf"stem\.[01]|stages\.\d\.blocks\.\d\.{_CONVNEXT_BLOCK}|stages\.3\.blocks\.0",
        2 + 6 * 4 + 1,
    ),
}

# those of the group "downsample": three of each between four stages
BETWEEN_STAGES = {
    "swin": (r"layers\.\d\.downsample\.norm", 3),
    "pvt": (r"patch_embed[234]\.(proj|norm)", 3 * 2),
    "pvt_v2": (r"stages\.\d\.downsample\.(proj|norm)", 3 * 2),
    "convnext": (r"stages\.\d\.downsample\.[01]", 3 * 2),
}
ALL = {
    "swin": ["embed", "downsample", "norm", "attn", "mlp"],
    "pvt": ["embed", "downsample", "norm", "attn", "mlp"],
    "pvt_v2": ["embed", "downsample", "norm", "attn", "mlp", "final"],
    "convnext": ["embed", "downsample", "norm", "conv_dw", "mlp", "final"],
}
CASES = [
    *(pytest.param(family, {}, [PLACES[family]], id=family) for family in sorted(PLACES)),
    *(
        pytest.param(family, {"groups": ALL[family]}, [PLACES[family], BETWEEN_STAGES[family]], id=f"{family}-all")
        for family in sorted(ALL)
    ),
]


def by_hand(encoder: nn.Module, values: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Scale and shift the outputs of a plain encoder's modules: maps ``(B, C, H, W)``, tokens ``(..., C)``."""

    def change(module, inputs, output, scale, shift):
        # ConvNeXt's blocks, and its norms outside of them, return maps too
        maps = isinstance(module, nn.Conv2d) or type(module).__name__ in ("LayerNorm2d", "ConvNeXtBlock")
        shape = (-1, 1, 1) if maps else (-1,)
        return scale.reshape(shape) * output + shift.reshape(shape)

    for path, (scale, shift) in values.items():
        encoder.model.get_submodule(path).register_forward_hook(partial(change, scale=scale, shift=shift))


def adapters(encoder: nn.Module) -> dict[str, ScaleShift]:
    """By the path in the plain model."""
    found = {path: module for path, module in encoder.model.named_modules() if isinstance(module, ScaleShift)}
    return {re.sub(r"\.base(?=\.|$)", "", path.removesuffix(".adapter")): part for path, part in found.items()}


@pytest.mark.parametrize(("family", "options", "expected_places"), CASES)
def test_equals_hooks_by_hand(family, options, expected_places):
    encoder, method = attached(family, {"type": "SSF", **options})
    disturb(encoder)
    plain = small_encoder(family)
    there = [path for path, module in plain.model.named_modules() if not isinstance(module, nn.Identity)]
    places = []
    for pattern, number in expected_places:
        found = [path for path in there if re.fullmatch(pattern, path)]
        assert len(found) == number
        places += found
    ours = adapters(encoder)
    assert set(places) == set(ours)

    values = {
        path: (
            (1 + part.scale[1]).detach().requires_grad_(),
            part.shift[1].detach().clone().requires_grad_(),
        )
        for path, part in ours.items()
    }
    by_hand(plain, values)
    generator = torch.Generator().manual_seed(3)
    adapted, expected = run(encoder, method, images(family), (1,)), plain(images(family))
    for one, other in zip(adapted, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        weights = torch.randn(one.shape, generator=generator)
        (weights * one).sum().backward(retain_graph=True)
        (weights * other).sum().backward(retain_graph=True)
    for path, (scale, shift) in values.items():
        for gradient, reference in ((ours[path].scale.grad, scale.grad), (ours[path].shift.grad, shift.grad)):
            size = reference.abs().max()
            assert (gradient[1] - reference).abs().max() <= 1e-4 * size + 1e-5, path


MERGED = [
    *product(sorted(SMALL_ENCODERS), [{}, {"scale": "scalar"}, {"scale": "none"}, {"shift": False}]),
    *product(sorted(BETWEEN_STAGES), [{"groups": "downsample"}]),
]


@pytest.mark.parametrize(("family", "options"), MERGED, ids=str)
def test_merged_equals_unmerged(family, options):
    if family == "convnext":
        options = {"groups": ["embed", "norm", "conv_dw", "mlp"], **options}
    encoder, method = attached(family, {"type": "SSF", **options})
    disturb(encoder)
    encoder.eval()
    with torch.no_grad():
        expected = run(encoder, method, images(family), (2,))
        plain = small_encoder(family)
        # its own state fits a plain model: nothing is left of the adapters
        plain.model.load_state_dict(method.merge(encoder, 2).state_dict())
        for ours, reference in zip(plain.eval()(images(family)), expected, strict=True):
            assert (ours - reference).norm() <= 1e-5 * reference.norm()


def test_a_bias_is_made_where_there_is_none():
    encoder = small_encoder("vit", options={**SMALL_ENCODERS["vit"]["options"], "qkv_bias": False})
    method = METHODS.build({"type": "SSF"})
    method.attach(encoder, ["a"])
    disturb(encoder)
    with torch.no_grad():
        expected = run(encoder, method, images("vit"))
        encoder.model = method.merge(encoder, 0)
        assert not encoder.model.blocks[0].attn.qkv.bias.requires_grad
        for ours, reference in zip(encoder(images("vit")), expected, strict=True):
            assert (ours - reference).norm() <= 1e-5 * reference.norm()


def test_what_takes_no_scale_is_not_merged():
    encoder, method = attached("convnext", {"type": "SSF"})
    with pytest.raises(ValueError, match=r"cannot be merged .*'stages\.3\.blocks\.0', group 'final'"):
        method.merge(encoder, 0)
    encoder, method = attached("convnext", {"type": "Composite", "methods": [{"type": "SSF"}, {"type": "BitFit"}]})
    with pytest.raises(ValueError, match=r"cannot be merged .*SSF: 'stages\.3\.blocks\.0'"):
        method.merge(encoder, 0)

    bare = {"norm_layer": partial(nn.LayerNorm, elementwise_affine=False)}
    encoder = small_encoder("vit", options={**SMALL_ENCODERS["vit"]["options"], **bare})
    method = METHODS.build({"type": "SSF"})
    method.attach(encoder, ["a"])
    with pytest.raises(ValueError, match=r"cannot be merged .*'blocks\.3\.norm2', group 'norm'"):
        method.merge(encoder, 0)


def test_the_start():
    encoder, _ = attached("swin", {"type": "SSF"}, tasks=[str(i) for i in range(20)])
    for name in ("scale", "shift"):
        values = torch.cat([getattr(part, name).detach().flatten() for part in adapters(encoder).values()])
        assert values.mean().item() == pytest.approx(0, abs=1e-3)  # some 200,000 of N(0, 0.02), of γ - 1 and of β
        assert values.std().item() == pytest.approx(0.02, rel=0.02)
    encoder, method = attached("swin", {"type": "SSF", "init": "identity"})
    assert method.exact_start
    assert not any(parameter.any() for part in adapters(encoder).values() for parameter in part.parameters())


def test_a_kept_final_norm_is_adapted():
    for family, maps in {"swin": 1, "pvt": 1, "vit": 4}.items():
        encoder = small_encoder(family, final_norm=True)
        without = small_encoder(family)
        method = METHODS.build({"type": "SSF", "groups": "final"})
        method.attach(encoder, ["a"])
        (path,) = adapters(encoder)
        assert path == "norm"
        with torch.no_grad():
            pairs = list(zip(run(encoder, method, images(family)), without(images(family)), strict=True))
        assert sum(not torch.equal(one, other) for one, other in pairs) == maps


def test_the_norm_before_the_first_layer_is_adapted():
    """CLIP's; the count by hand: a bias less, and every operation of four layers of width 48."""
    options = {**SMALL_ENCODERS["vit"]["options"], "pre_norm": True}
    encoder, plain = (small_encoder("vit", options=options) for _ in range(2))
    method = METHODS.build({"type": "SSF"})
    assert method.count(encoder, 2) == 2 * 2 * (11 * 4 * 48 + 2 * 48)
    method.attach(encoder, ["a", "b"])
    disturb(encoder)
    ours = adapters(encoder)
    assert set(ours) == {"norm_pre"} | {path for path in adapters(attached("vit", {"type": "SSF"})[0])}
    by_hand(plain, {path: (1 + part.scale[1], part.shift[1]) for path, part in ours.items()})
    with torch.no_grad():
        pairs = zip(run(encoder, method, images("vit"), (1,)), plain(images("vit")), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        merged = method.merge(encoder, 1).forward_intermediates(images("vit"), intermediates_only=True, norm=False)
    torch.testing.assert_close(
        merged[-1], encoder.model.forward_intermediates(images("vit"))[1][-1], rtol=1e-4, atol=1e-5
    )


def test_an_operation_that_is_no_site_is_refused():
    """ConvNeXt v2's response norm; what lies between the stages is known, and left out by default."""
    options = {**SMALL_ENCODERS["convnext"]["options"], "use_grn": True, "ls_init_value": None}
    with pytest.raises(ValueError, match=r"'stages.0.blocks.0.mlp.grn' of convnext_tiny, GlobalResponseNorm, is none"):
        METHODS.build({"type": "SSF"}).count(small_encoder("convnext", options=options), 1)
    METHODS.build({"type": "SSF", "groups": ["norm"]}).attach(small_encoder("convnext", options=options), ["a"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ["mlpp"]}, r"group 'mlpp'; did you mean 'mlp'\? valid: attn, embed, mlp, norm$"),
        ({"groups": ["final"]}, "group 'final'; valid: attn, embed, mlp, norm$"),
        ({"blocks": 5}, "blocks must lie between 0 and 4, this encoder's depth, not 5"),
        ({"blocks": 0, "groups": ["mlp"]}, "adapts nothing"),
        ({"groups": []}, "adapts nothing"),
        ({"scale": "row"}, "unknown scale 'row'; valid: channel, none, scalar"),
        ({"init": "zeros"}, "unknown init 'zeros'; valid: identity, normal"),
        ({"scale": "none", "shift": False}, "trains nothing"),
    ],
)
def test_mistakes_name_the_valid_choices(options, message):
    with pytest.raises(ValueError, match=message) as error:
        attached("vit", {"type": "SSF", **options})
    assert "\n" not in str(error.value)
