"""Parameter counts of the Polyhistor paper's tables, to the integer.

The encoders' numbers follow from the structures that explain the printed millions (arXiv 2210.03265, tables 1 to 8);
T = 4 tasks with 21 + 7 + 1 + 3 channels.
"""

from __future__ import annotations

import pytest
from torch import nn

from mtl.registry import DECODERS, ENCODERS, METHODS

ENCODER_NAMES = {
    "Swin-T": "swin_tiny_patch4_window7_224",
    "Swin-B": "swin_base_patch4_window7_224",
    "PVT-S": "pvt_small",
}
DECODER_COUNTS = {"Swin-T": 2549024, "Swin-B": 3044384, "PVT-S": 2111520}

ROWS = [
    ("Swin-T", {"type": "SingleTaskFull"}, 110071272),
    ("Swin-B", {"type": "SingleTaskFull"}, 346964704),
    ("PVT-S", {"type": "SingleTaskFull"}, 95883264),
    ("Swin-T", {"type": "DecodersOnly"}, 0),
    ("Swin-B", {"type": "DecodersOnly"}, 0),
    ("PVT-S", {"type": "DecodersOnly"}, 0),
    ("Swin-T", {"type": "MultiTaskFull"}, 27517818),
    ("Swin-T", {"type": "Hyperformer", "reduction": 8}, 72772304),
    ("Swin-T", {"type": "Hyperformer", "reduction": 16}, 37692584),
    ("Swin-T", {"type": "Hyperformer", "reduction": 32}, 20152724),
    ("Swin-T", {"type": "Hyperformer", "reduction": 16, "sites": "mlp"}, 19291604),
    ("Swin-B", {"type": "Hyperformer", "reduction": 16, "sites": "mlp"}, 60883440),
    ("PVT-S", {"type": "Hyperformer", "reduction": 16, "sites": "mlp"}, 14028996),
    ("Swin-T", {"type": "Polyhistor", "rank": 1}, 2379644),
    ("Swin-T", {"type": "Polyhistor", "rank_divisor": 8}, 4076924),
    ("Swin-T", {"type": "Polyhistor", "rank_divisor": 4}, 6410684),
    ("Swin-T", {"type": "Polyhistor", "rank_divisor": 2}, 11078204),
    ("PVT-S", {"type": "Polyhistor"}, 5206156),
    ("Swin-T", {"type": "PolyhistorLite", "embedding": 16}, 226212),
    ("Swin-T", {"type": "PolyhistorLite", "embedding": 32}, 288980),
    ("Swin-T", {"type": "PolyhistorLite", "embedding": 64}, 414516),
    ("Swin-B", {"type": "PolyhistorLite", "reduction": 1}, 1292388),
    ("Swin-B", {"type": "PolyhistorLite", "reduction": 2}, 622628),
    ("Swin-B", {"type": "PolyhistorLite", "reduction": 4}, 387588),
    ("Swin-B", {"type": "PolyhistorLite", "reduction": 8}, 295028),
    ("Swin-B", {"type": "PolyhistorLite", "reduction": 32}, 236528),
    ("PVT-S", {"type": "PolyhistorLite"}, 293954),
    # equations 3 and 5 to the letter; 37,800 k + 4k, and 64*2304 + 50*32 + 4*1426, by hand
    ("Swin-T", {"type": "Polyhistor", "literal": True}, 2419456),
    ("Swin-T", {"type": "PolyhistorLite", "literal": True}, 154760),
]


def trained(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize(("family", "config", "expected"), ROWS, ids=lambda x: str(x))
def test_encoder_count(family, config, expected):
    encoder = ENCODERS.build({"type": "TimmEncoder", "name": ENCODER_NAMES[family], "size": (224, 224)})
    method = METHODS.build(config)
    assert method.count(encoder, 4) == expected
    method.attach(encoder, ["semseg", "human_parts", "saliency", "normals"])
    assert trained(encoder, method) == expected


@pytest.mark.parametrize("family", DECODER_COUNTS)
def test_decoder_count(family):
    encoder = ENCODERS.build({"type": "TimmEncoder", "name": ENCODER_NAMES[family], "size": (224, 224)})
    decoders = [
        DECODERS.build(
            {"type": "AllMLP", "in_channels": encoder.channels, "out_channels": k, "input_norm": encoder.normed}
        )
        for k in (21, 7, 1, 3)
    ]
    assert trained(*decoders) == DECODER_COUNTS[family]
