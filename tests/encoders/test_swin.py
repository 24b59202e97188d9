"""Swin's windows against mmseg's, whose order of padding and shift is the published one."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from conftest import small_encoder
from mmseg.models.backbones.swin import ShiftWindowMSA
from timm.models.swin_transformer import SwinTransformerBlock

from mtl.encoders.swin import PadFirstBlock, make_traceable, pad_first


@pytest.mark.parametrize("size", [(14, 14), (16, 23), (9, 30)])
@pytest.mark.parametrize("shift", [0, 3])
def test_windows_are_mmsegs(size, shift):
    torch.manual_seed(0)
    block = SwinTransformerBlock(24, size, num_heads=3, window_size=7, shift_size=shift, dynamic_mask=True).eval()
    theirs = ShiftWindowMSA(24, num_heads=3, window_size=7, shift_size=shift).eval()
    torch.nn.init.normal_(block.attn.relative_position_bias_table)
    table = "relative_position_bias_table"
    weights = {f"w_msa.{k}": v for k, v in block.attn.state_dict().items()}
    theirs.load_state_dict(weights, strict=False)
    # mmseg counts relative positions from the other end of the window
    index = theirs.w_msa.relative_position_index
    flipped = torch.empty_like(block.attn.relative_position_bias_table)
    flipped[index.flatten()] = block.attn.relative_position_bias_table[block.attn.relative_position_index.flatten()]
    getattr(theirs.w_msa, table).data.copy_(flipped)
    x = torch.randn(2, *size, 24)
    pad_first(block)
    with torch.no_grad():
        expected = theirs(x.flatten(1, 2), size).view_as(x)
        torch.testing.assert_close(block._attn(x), expected, rtol=1e-5, atol=1e-6)


def test_weights_and_names_stay():
    model = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, embed_dim=24, num_heads=(1, 2, 4, 8))
    before = copy.deepcopy(model.state_dict())
    pad_first(model)
    assert sum(type(module) is PadFirstBlock for module in model.modules()) == 12
    assert list(before) == list(model.state_dict())


def test_the_form_for_graphs_is_the_same_function():
    """On maps that windows divide, on those that they do not, and on those that one window covers."""
    encoder = small_encoder("swin").eval()
    traceable = copy.deepcopy(encoder)
    for size in [(64, 96), (96, 160), (256, 224)]:
        make_traceable(traceable)
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            for ours, theirs in zip(traceable(images), encoder(images), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
