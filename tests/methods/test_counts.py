"""Parameter counts of the papers' tables.

Polyhistor's prints millions with two decimals (arXiv 2210.03265, tables 1 to 8); the integers are those of the
structures that explain them, worked out apart from this code. T = 4 tasks with 21 + 7 + 1 + 3 channels.
"""

from __future__ import annotations

import copy
import functools

import pytest
from torch import nn

from mtl.registry import DECODERS, ENCODERS, METHODS

ENCODER_NAMES = {
    "Swin-T": "swin_tiny_patch4_window7_224",
    "Swin-B": "swin_base_patch4_window7_224",
    "PVT-S": "pvt_small",
    "ViT-B": "vit_base_patch16_224",
    "ConvNeXt-B": "convnext_base",
}
DECODER_COUNTS = {"Swin-T": 2549024, "Swin-B": 3044384, "PVT-S": 2111520}

# encoder, method, trained parameters in encoder and method, and the millions that the paper prints, off by rounding or
# truncation; the PVT rows are printed as Polyhistor-Lite's λ = 1 and λ = 32
ROWS = [
    ("Swin-T", {"type": "SingleTaskFull"}, 110071272, 110.07),
    ("Swin-B", {"type": "SingleTaskFull"}, 346964704, 346.96),
    ("PVT-S", {"type": "SingleTaskFull"}, 95883264, 95.88),
    ("Swin-T", {"type": "DecodersOnly"}, 0, 0.0),
    ("Swin-B", {"type": "DecodersOnly"}, 0, 0.0),
    ("PVT-S", {"type": "DecodersOnly"}, 0, 0.0),
    ("Swin-T", {"type": "MultiTaskFull"}, 27517818, 27.51),
    ("Swin-T", {"type": "Hyperformer", "reduction": 8}, 72772304, 72.77),
    ("Swin-T", {"type": "Hyperformer", "reduction": 16}, 37692584, 37.69),
    ("Swin-T", {"type": "Hyperformer", "reduction": 32}, 20152724, 20.15),
    ("Swin-T", {"type": "Hyperformer", "reduction": 16, "sites": "mlp"}, 19291604, 19.29),
    ("Swin-B", {"type": "Hyperformer", "reduction": 16, "sites": "mlp"}, 60883440, 60.88),
    ("PVT-S", {"type": "Hyperformer", "reduction": 16, "sites": "mlp"}, 14028996, 14.03),
    ("Swin-T", {"type": "Polyhistor", "rank": 1}, 2379644, 2.38),
    ("Swin-T", {"type": "Polyhistor", "rank_divisor": 8}, 4076924, 4.08),
    ("Swin-T", {"type": "Polyhistor", "rank_divisor": 4}, 6410684, 6.41),
    ("Swin-T", {"type": "Polyhistor", "rank_divisor": 2}, 11078204, 11.08),
    ("PVT-S", {"type": "Polyhistor"}, 5206156, 5.21),
    ("Swin-T", {"type": "PolyhistorLite", "embedding": 16}, 226212, 0.23),
    ("Swin-T", {"type": "PolyhistorLite", "embedding": 32}, 288980, 0.29),
    ("Swin-T", {"type": "PolyhistorLite", "embedding": 64}, 414516, 0.41),
    ("Swin-B", {"type": "PolyhistorLite", "reduction": 1}, 1292388, 1.29),
    ("Swin-B", {"type": "PolyhistorLite", "reduction": 2}, 622628, 0.62),
    ("Swin-B", {"type": "PolyhistorLite", "reduction": 4}, 387588, 0.39),
    ("Swin-B", {"type": "PolyhistorLite", "reduction": 8}, 295028, 0.29),
    ("Swin-B", {"type": "PolyhistorLite", "reduction": 32}, 236528, 0.24),
    ("PVT-S", {"type": "PolyhistorLite"}, 293954, 0.29),
    ("Swin-T", {"type": "BitFit"}, 299112, 0.30),
    ("Swin-B", {"type": "BitFit"}, 4 * 199736, 4 * 0.20),  # the paper counts one task
    ("PVT-S", {"type": "BitFit"}, 223488, 0.22),
    ("Swin-T", {"type": "RelativeBias"}, 93288, 0.09),
    ("Swin-B", {"type": "RelativeBias"}, 4 * 63544, 0.254),  # the paper prints one task's 0.06
    ("Swin-T", {"type": "LoRA"}, 317952, 0.32),
    ("Swin-B", {"type": "LoRA"}, 866304, 0.87),
    ("PVT-S", {"type": "LoRA"}, 299520, 0.30),
    ("Swin-T", {"type": "Adapter", "reduction": 1}, 17323008, 17.32),
    ("Swin-T", {"type": "Adapter", "reduction": 2}, 8688000, 8.69),
    ("Swin-T", {"type": "Adapter", "reduction": 4}, 4370496, 4.37),
    ("Swin-T", {"type": "Adapter", "reduction": 8}, 2211744, 2.21),
    ("Swin-T", {"type": "Adapter", "reduction": 16}, 1132368, 1.13),
    ("Swin-B", {"type": "Adapter", "reduction": 16}, 3637184, 3.64),
    ("PVT-S", {"type": "Adapter", "reduction": 16}, 790288, 0.79),
    ("Swin-T", {"type": "SharedAdapter", "reduction": 1}, 4357248, 4.35),
    ("Swin-T", {"type": "SharedAdapter", "reduction": 2}, 2198496, 2.20),
    ("Swin-T", {"type": "SharedAdapter", "reduction": 4}, 1119120, 1.12),
    ("Swin-T", {"type": "SharedAdapter", "reduction": 8}, 579432, 0.58),
    ("Swin-T", {"type": "LowRankAdapter"}, 339696, 0.34),
    ("PVT-S", {"type": "LowRankAdapter"}, 247344, 0.25),
    ("Swin-B", {"type": "LowRankAdapter"}, 1074368, None),  # the paper repeats Swin-T's number
    ("Swin-T", {"type": "PHMAdapter"}, 593240, 0.59),
    ("Swin-B", {"type": "PHMAdapter"}, 1892296, 1.89),
    ("PVT-S", {"type": "PHMAdapter"}, 420632, 0.42),
    ("Swin-T", {"type": "Compacter", "reduction": 1}, 282632, 0.28),
    ("Swin-T", {"type": "Compacter", "reduction": 2}, 229640, 0.23),
    ("Swin-T", {"type": "Compacter", "reduction": 8}, 189896, 0.19),
    ("Swin-T", {"type": "Compacter", "sites": "mlp", "reduction": 1}, 141320, 0.14),
    ("Swin-T", {"type": "Compacter", "sites": "mlp", "reduction": 2}, 114824, 0.11),
    ("Swin-T", {"type": "Compacter", "sites": "mlp", "reduction": 8}, 94952, 0.09),
    ("Swin-B", {"type": "Compacter", "sites": "mlp", "reduction": 16}, 249672, 0.25),
    ("PVT-S", {"type": "Compacter", "sites": "mlp", "reduction": 16}, 86328, 0.09),
    ("Swin-T", {"type": "VPT"}, 19200, 0.02),
    ("Swin-T", {"type": "VPT", "deep": True}, 883200, 0.88),
    ("Swin-B", {"type": "VPT", "deep": True}, 2406400, 2.41),
    # no rows of the paper: the formulas with the widths' sum, 4416 and 4160
    ("Swin-T", {"type": "DoRA"}, 4 * 18 * 4416, None),
    ("Swin-T", {"type": "AdaptFormer"}, 4 * (129 * 4416 + 12 * 64), None),
    ("PVT-S", {"type": "AdaptFormer"}, 4 * (129 * 4160 + 16 * 64), None),
    ("Swin-T", {"type": "SSF"}, 4 * 2 * (11 * 4416 + 2 * 96), None),
    # equations 3 and 5 to the letter; 37,800 k + 4k, and 64*2304 + 50*32 + 4*1426, by hand
    ("Swin-T", {"type": "Polyhistor", "literal": True}, 2419456, None),
    ("Swin-T", {"type": "PolyhistorLite", "literal": True}, 154760, None),
]


def trained(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


@functools.cache
def plain_encoder(family: str, final_norm: bool = False) -> nn.Module:
    config = {"type": "TimmEncoder", "name": ENCODER_NAMES[family], "size": (224, 224), "final_norm": final_norm}
    return ENCODERS.build({**config, "weights": False})


@pytest.mark.parametrize(("family", "config", "expected", "printed"), ROWS, ids=str)
def test_encoder_count(family, config, expected, printed):
    assert printed is None or abs(expected / 1e6 - printed) <= 0.011
    encoder = copy.deepcopy(plain_encoder(family))
    method = METHODS.build(config)
    assert method.count(encoder, 4) == expected
    method.attach(encoder, ["semseg", "human_parts", "saliency", "normals"])
    assert trained(encoder, method) == expected


@pytest.mark.parametrize("family", DECODER_COUNTS)
def test_decoder_count(family):
    encoder = plain_encoder(family)
    decoders = [
        DECODERS.build(
            {"type": "AllMLP", "in_channels": encoder.channels, "out_channels": k, "input_norm": encoder.normed}
        )
        for k in (21, 7, 1, 3)
    ]
    assert trained(*decoders) == DECODER_COUNTS[family]


def test_mtlora_count():
    """The paper's 8.34 M (arXiv 2403.20320, all that trains) have two parts more: the authors' decoders, 1,946,624, and
    the changes of a fc2 that no gradient reaches. 1,599,546 of the encoder's own weights is what their script prints.
    """
    d, last, dead = 4416, 1440, 64 * 5 * 768  # widths of the 12 blocks and of the stages' last ones, summed
    expected = 64 * 16 * d - dead + 4 * 4 * 12 * last + 1599546
    assert round((expected + dead + 1946624) / 1e6, 2) == 8.34
    encoder, method = copy.deepcopy(plain_encoder("Swin-T")), METHODS.build({"type": "MTLoRA"})
    assert method.count(encoder, 4) == expected == 6152250
    plus = METHODS.build({"type": "MTLoRA", "merging": True})
    assert plus.count(encoder, 4) == expected + 64 * 6 * (96 + 192 + 384) - 8 * (96**2 + 192**2 + 384**2)
    method.attach(encoder, list("abcd"))
    assert trained(encoder, method) == expected


def without(group: str) -> dict:
    return {"groups": [name for name in ("embed", "norm", "attn", "mlp", "final") if name != group]}


ALL = {"groups": ["embed", "downsample", "norm", "attn", "mlp", "final"]}
ALL_CONVNEXT = {"groups": ["embed", "downsample", "norm", "conv_dw", "mlp", "final"]}

# classifiers of SSF with their heads, T = 1 (arXiv 2210.08823, tables 5 and 6, rounded); the paper prints none of the
# four that have the sites between stages
SSF_ROWS = [
    ("ViT-B", 100, {}, 282724, 0.28),
    ("ViT-B", 1000, {}, 974824, 0.97),
    ("Swin-B", 100, {}, 369764, 0.37),
    ("Swin-B", 1000, {}, 1292264, 1.29),
    ("Swin-B", 100, ALL, 376932, 0.38),
    ("Swin-B", 1000, ALL, 1299432, 1.30),
    ("ConvNeXt-B", 100, {}, 359780, 0.36),
    ("ConvNeXt-B", 1000, {}, 1282280, 1.28),
    ("ConvNeXt-B", 100, ALL_CONVNEXT, 365156, 0.37),
    ("ConvNeXt-B", 1000, ALL_CONVNEXT, 1287656, 1.29),
    ("ViT-B", 100, {"blocks": 2}, 113764, 0.11),
    ("ViT-B", 100, {"blocks": 4}, 147556, 0.15),
    ("ViT-B", 100, {"blocks": 8}, 215140, 0.22),
    ("ViT-B", 100, without("mlp"), 190564, 0.19),
    ("ViT-B", 100, without("attn"), 208996, 0.21),
    ("ViT-B", 100, without("embed"), 281188, 0.28),
    ("ViT-B", 100, without("norm"), 245860, 0.25),
    ("ViT-B", 100, {"groups": "norm"}, 113764, 0.11),
    ("ViT-B", 100, {"scale": "none"}, 179812, 0.18),
    ("ViT-B", 100, {"shift": False}, 179812, 0.18),
    ("ViT-B", 100, {"scale": "scalar"}, 179886, 0.18),
]


def head_count(encoder: nn.Module, classes: int) -> int:
    """Of a linear classifier; ConvNeXt's trains the norm that it has behind its pooling."""
    d = encoder.channels[-1]
    return classes * (d + 1) + 2 * d * (not encoder.final_norm)


@pytest.mark.parametrize(("family", "classes", "options", "expected", "printed"), SSF_ROWS, ids=str)
def test_ssf_count(family, classes, options, expected, printed):
    assert round(expected / 1e6, 2) == printed
    encoder = copy.deepcopy(plain_encoder(family, final_norm=family != "ConvNeXt-B"))
    method = METHODS.build({"type": "SSF", **options})
    counted = method.count(encoder, 1)
    method.attach(encoder, ["classes"])
    assert trained(encoder, method) == counted
    assert counted + head_count(encoder, classes) == expected


# the paper of VPT (arXiv 2203.12119) prints multiples of the head's size; p d and L p d by hand, and for the border of
# 5 pixels at 224 its area, 3 * (234² - 224²);
# a channel has a pixel for each of the image's, and a kernel for each output
ONE_TASK = [
    ("vit_base_patch16_224", {"type": "VPT"}, 38400),
    ("vit_base_patch16_224", {"type": "VPT", "deep": True}, 460800),
    ("vit_base_patch16_224", {"type": "VPT", "deep": True, "layers": -3, "prompts": 10}, 23040),
    ("vit_base_patch16_224", {"type": "VPT", "deep": True, "form": "prefix"}, 921600),
    ("vit_base_patch16_224", {"type": "VPT", "form": "prepend-pixel", "prompts": 10}, 7680),
    ("vit_base_patch16_224", {"type": "VPT", "form": "add"}, 150528),
    ("convnext_tiny", {"type": "VPT", "form": "border"}, 13740),
    ("vit_base_patch16_224", {"type": "VPT", "form": "concat-channel"}, 224 * 224 + 768 * 16 * 16),
]


@pytest.mark.parametrize(("name", "config", "expected"), ONE_TASK, ids=str)
def test_count_of_one_task(name, config, expected):
    encoder = ENCODERS.build({"type": "TimmEncoder", "name": name, "size": (224, 224)})
    method = METHODS.build(config)
    assert method.count(encoder, 1) == expected
    method.attach(encoder, ["semseg"])
    assert trained(encoder, method) == expected


def test_a_bottleneck_that_p_does_not_divide():
    """Widths 48, 96, 192, 384 of 2, 2, 2, 1 layers, n = 3, 6, 12, 24, of which the first becomes 2; by hand."""
    options = {"embed_dim": 48, "depths": (2, 2, 2, 1), "num_heads": (2, 4, 8, 16), "window_size": 6}
    encoder = ENCODERS.build(
        {"type": "TimmEncoder", "name": "swin_tiny_patch4_window7_224", "size": (96, 96), "options": options}
    )
    method = METHODS.build({"type": "PHMAdapter", "reduction": 16, "p": 2})
    assert method.count(encoder, 4) == 4 * (2 * 242 + 2 * 870 + 2 * 2892 + 10392) + 8
    method.attach(encoder, ["a", "b", "c", "d"])
    assert trained(encoder, method) == method.count(encoder, 4)
    for p in (0, 4):
        with pytest.raises(ValueError, match=f"p must lie between 1 and the bottleneck's width 3, not {p}"):
            METHODS.build({"type": "PHMAdapter", "reduction": 16, "p": p}).count(encoder, 4)
