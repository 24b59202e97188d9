"""Parameter counts of the Polyhistor paper's tables.

The paper prints millions with two decimals (arXiv 2210.03265, tables 1 to 8); the integers are those of the structures
that explain them, worked out apart from this code.
T = 4 tasks with 21 + 7 + 1 + 3 channels.
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
    # equations 3 and 5 to the letter; 37,800 k + 4k, and 64*2304 + 50*32 + 4*1426, by hand
    ("Swin-T", {"type": "Polyhistor", "literal": True}, 2419456, None),
    ("Swin-T", {"type": "PolyhistorLite", "literal": True}, 154760, None),
]


def trained(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


@functools.cache
def plain_encoder(family: str) -> nn.Module:
    return ENCODERS.build({"type": "TimmEncoder", "name": ENCODER_NAMES[family], "size": (224, 224)})


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
