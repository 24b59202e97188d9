"""AllMLP against mmseg's SegformerHead and against counts from the paper's structure."""

import pytest
import torch
from mmseg.models.decode_heads import SegformerHead
from torch import nn

from mtl.decoders import AllMLP
from mtl.registry import DECODERS

DIMS, CHANNELS, CLASSES = (6, 10, 14, 18), 16, 7
SIZES = {
    "regular": ((16, 24), (8, 12), (4, 6), (2, 3)),
    "odd": ((17, 23), (9, 12), (5, 6), (3, 3)),
}


def heads(norm_per_scale):
    """The head and mmseg's, float64, with the same random weights."""
    torch.manual_seed(0)
    reference = SegformerHead(
        in_channels=DIMS,
        in_index=[0, 1, 2, 3],
        channels=CHANNELS,
        num_classes=CLASSES,
        dropout_ratio=0,
        norm_cfg={"type": "BN"},
    )
    if not norm_per_scale:
        reference.convs = nn.ModuleList(nn.Conv2d(c, CHANNELS, 1) for c in DIMS)
    reference.double()
    for tensor in (*reference.parameters(), *reference.buffers()):
        if tensor.is_floating_point():
            # running variances must be positive
            tensor.data = torch.rand_like(tensor) + 0.1 if tensor.ndim == 1 else torch.randn_like(tensor) / 4
    head = AllMLP(DIMS, CLASSES, CHANNELS, dropout=0, norm_per_scale=norm_per_scale).double()
    for own, other in pairs(head, reference):
        own.data = other.detach().clone().view_as(own)
    return head, reference


def pairs(head, reference, of=lambda tensor: tensor):
    """(own, mmseg's) parameters and running statistics, or what ``of`` makes of a parameter."""
    fuse = of(reference.fusion_conv.conv.weight)
    for i, scale in enumerate(head.scales):
        other = reference.convs[i]
        if scale.norm is None:
            yield of(scale.linear.weight), of(other.weight)
            yield of(scale.linear.bias), of(other.bias)
        else:
            yield of(scale.linear.weight), of(other.conv.weight)
            yield from norm_pairs(scale.norm[0], other.bn, of)
        yield of(scale.fuse.weight), fuse[:, i * CHANNELS : (i + 1) * CHANNELS]
    yield from norm_pairs(head.norm[0], reference.fusion_conv.bn, of)
    yield of(head.classifier.weight), of(reference.conv_seg.weight)
    yield of(head.classifier.bias), of(reference.conv_seg.bias)


def norm_pairs(own, other, of):
    yield of(own.weight), of(other.weight)
    yield of(own.bias), of(other.bias)
    yield own.running_mean, other.running_mean
    yield own.running_var, other.running_var


def maps(sizes, batch=2, dims=DIMS, dtype=torch.float64):
    return [torch.randn(batch, c, *size, dtype=dtype, requires_grad=True) for c, size in zip(dims, sizes, strict=True)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("norm_per_scale", [False, True])
def test_equals_mmseg(norm_per_scale, sizes, training):
    head, reference = heads(norm_per_scale)
    head.train(training)
    reference.train(training)
    inputs = maps(sizes)
    copies = [x.detach().clone().requires_grad_() for x in inputs]
    out, expected = head(inputs), reference(copies)
    assert out.shape == (2, CLASSES, *sizes[0])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    weights = torch.randn_like(out)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    for own, other in zip(inputs, copies, strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=0, atol=1e-9)
    checked = 0
    for own, other in pairs(head, reference, lambda parameter: parameter.grad):  # and the running statistics
        torch.testing.assert_close(own, other.reshape(own.shape), rtol=0, atol=1e-9)
        checked += 1
    assert checked == len(list(head.parameters())) + 2 * sum(isinstance(m, nn.BatchNorm2d) for m in head.modules())


def test_float32_is_close_to_mmseg():
    head, reference = heads(norm_per_scale=False)
    inputs = maps(SIZES["odd"], dtype=torch.float32)
    torch.testing.assert_close(head.float()(inputs), reference.float()(inputs), rtol=0, atol=1e-5)


def test_input_norm_is_a_layernorm_of_each_map():
    torch.manual_seed(0)
    normed = AllMLP(DIMS, CLASSES, CHANNELS, input_norm=True).eval()
    plain = AllMLP(DIMS, CLASSES, CHANNELS).eval()
    plain.load_state_dict({k: v for k, v in normed.state_dict().items() if "input_norm" not in k})
    inputs = maps(SIZES["odd"], dtype=torch.float32)
    by_hand = [(x - x.mean(1, True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt() for x in inputs]
    torch.testing.assert_close(normed(inputs), plain(by_hand), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("dims", "input_norm", "total"),
    # four tasks of 21 + 7 + 1 + 3 channels; "fine-tuning decoders" of the Polyhistor paper
    # (https://arxiv.org/abs/2210.03265), tables 1, 3 and 7: 2.55 M, 3.04 M, 2.11 M
    [
        ((96, 192, 384, 768), True, 2_549_024),
        ((128, 256, 512, 1024), True, 3_044_384),
        ((64, 128, 320, 512), False, 2_111_520),
    ],
)
def test_parameter_counts(dims, input_norm, total):
    heads = [AllMLP(dims, channels, input_norm=input_norm) for channels in (21, 7, 1, 3)]
    assert sum(p.numel() for head in heads for p in head.parameters()) == total


@pytest.mark.parametrize("norm_per_scale", [False, True])
@pytest.mark.parametrize("input_norm", [False, True])
def test_count_formula(input_norm, norm_per_scale):
    n, c, k = len(DIMS), CHANNELS, CLASSES
    expected = sum((d + 1) * c for d in DIMS) + n * c * c + 2 * c + (c + 1) * k
    expected += 2 * sum(DIMS) * input_norm + n * c * norm_per_scale
    head = AllMLP(DIMS, k, c, input_norm=input_norm, norm_per_scale=norm_per_scale)
    assert sum(p.numel() for p in head.parameters()) == expected


@pytest.mark.parametrize("norm_per_scale", [False, True])
def test_empty_batch_gives_zero_gradients_and_keeps_statistics(norm_per_scale):
    head = AllMLP(DIMS, CLASSES, CHANNELS, input_norm=True, norm_per_scale=norm_per_scale).train()
    before = {name: buffer.clone() for name, buffer in head.named_buffers() if "running" in name}
    out = head(maps(SIZES["odd"], batch=0, dtype=torch.float32))
    assert out.shape == (0, CLASSES, 17, 23)
    out.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())
    buffers = dict(head.named_buffers())
    assert all(torch.equal(buffers[name], value) for name, value in before.items())


def test_dropout_drops_whole_channels_in_training_only():
    torch.manual_seed(0)
    head = AllMLP(DIMS, CLASSES, CHANNELS, dropout=0.5)
    inputs = maps(SIZES["regular"], dtype=torch.float32)
    seen = []
    head.classifier.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    head.eval()(inputs)
    head.train()(inputs)
    alive = [x.flatten(2).abs().amax(-1) > 0 for x in seen]
    assert alive[0].all()
    assert 0.2 < alive[1].float().mean() < 0.8


def test_initial_scale():
    torch.manual_seed(0)
    head = AllMLP((96, 192, 384, 768), 21, norm_per_scale=True)
    assert head.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not head.classifier.bias.any()
    for scale in head.scales:  # Kaiming-normal, fan-out 256, gain sqrt(2)
        assert scale.linear.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)
        assert scale.fuse.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)


@pytest.mark.parametrize("norm_per_scale", [False, True])
def test_compiles_to_one_graph(norm_per_scale):
    head = AllMLP(DIMS, CLASSES, CHANNELS, input_norm=True, norm_per_scale=norm_per_scale).eval()
    inputs = maps(SIZES["odd"], dtype=torch.float32)
    torch.testing.assert_close(torch.compile(head, fullgraph=True, backend="eager")(inputs), head(inputs))


def test_runs_in_mixed_precision():
    head = AllMLP(DIMS, CLASSES, CHANNELS).eval()
    inputs = maps(SIZES["regular"], dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        low = head(inputs)
    torch.testing.assert_close(low.float(), head(inputs), rtol=0.1, atol=5e-3)


def test_built_from_the_registry():
    head = DECODERS.build({"type": "AllMLP", "channels": 8}, default_args={"in_channels": DIMS, "out_channels": 3})
    assert head.classifier.out_channels == 3
    with pytest.raises(ValueError, match="did you mean 'channels'"):
        DECODERS.build({"type": "AllMLP", "channel": 8, "in_channels": DIMS, "out_channels": 3})


def test_wrong_arguments():
    head = AllMLP(DIMS, CLASSES, CHANNELS)
    with pytest.raises(ValueError, match=r"channels \(6, 10, 14, 18\), got \(6, 10, 14\)"):
        head(maps(SIZES["odd"], dtype=torch.float32)[:3])
    with pytest.raises(ValueError, match=r"got \(18, 14, 10, 6\)"):
        head(maps(SIZES["odd"], dims=DIMS[::-1], dtype=torch.float32))
    for wrong in ({"in_channels": ()}, {"out_channels": 0}, {"channels": -1}):
        with pytest.raises(ValueError, match="positive channels"):
            AllMLP(**{"in_channels": DIMS, "out_channels": 3, **wrong})
