"""PVT v1 against a slow reference, the published parameter names and shapes, and the paper's sizes."""

import math

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models import group_parameters
from torch import nn

from mtl.encoders.pvt import Attention, PyramidVisionTransformer, checkpoint_filter_fn

TINY = {"embed_dims": (8, 16, 40, 64), "depths": (1, 2, 1, 1), "num_classes": 5}
DIMS, HEADS, RATIOS, REDUCTIONS = (64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4), (8, 4, 2, 1)
DEPTHS = {"pvt_tiny": (2, 2, 2, 2), "pvt_small": (3, 4, 6, 3), "pvt_medium": (3, 4, 18, 3), "pvt_large": (3, 8, 27, 3)}


def published(depths, dims=DIMS, classes=1000):
    """Names and shapes of the authors' classification checkpoints (github.com/whai362/PVT, classification/pvt.py)."""
    shapes = {"cls_token": (1, 1, dims[3])}
    grids, below, kernel = (56, 28, 14, 7), 3, 4

    def affine(name, *weight):
        shapes[f"{name}.weight"] = weight
        shapes[f"{name}.bias"] = weight[:1]

    for stage in range(4):
        d, n = dims[stage], stage + 1
        shapes[f"pos_embed{n}"] = (1, grids[stage] ** 2 + (stage == 3), d)
        affine(f"patch_embed{n}.proj", d, below, kernel, kernel)
        affine(f"patch_embed{n}.norm", d)
        for layer in range(depths[stage]):
            block, s = f"block{n}.{layer}", REDUCTIONS[stage]
            affine(f"{block}.norm1", d)
            affine(f"{block}.attn.q", d, d)
            affine(f"{block}.attn.kv", 2 * d, d)
            affine(f"{block}.attn.proj", d, d)
            if s > 1:
                affine(f"{block}.attn.sr", d, d, s, s)
                affine(f"{block}.attn.norm", d)
            affine(f"{block}.norm2", d)
            affine(f"{block}.mlp.fc1", RATIOS[stage] * d, d)
            affine(f"{block}.mlp.fc2", d, RATIOS[stage] * d)
        below, kernel = d, 2
    affine("norm", dims[3])
    affine("head", classes, dims[3])
    return shapes


def fabricated():
    """A checkpoint in published naming, narrow."""
    generator = torch.Generator().manual_seed(0)
    shapes = published(TINY["depths"], TINY["embed_dims"], TINY["num_classes"])
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def slow_attention(state, prefix, x, heads, reduction, size):
    """One query, one head at a time; ``x`` (N, C)."""

    def linear(name, value):
        return value @ state[f"{prefix}.{name}.weight"].T + state[f"{prefix}.{name}.bias"]

    source, c = x, x.shape[1]
    if reduction > 1:
        grid = x.reshape(*size, c)
        kernel, bias = state[f"{prefix}.sr.weight"], state[f"{prefix}.sr.bias"]
        cells = []
        for i in range(size[0] // reduction):
            for j in range(size[1] // reduction):
                patch = grid[i * reduction : (i + 1) * reduction, j * reduction : (j + 1) * reduction]
                cells.append(torch.einsum("ocyx,yxc->o", kernel, patch) + bias)
        source = F.layer_norm(torch.stack(cells), (c,), state[f"{prefix}.norm.weight"], state[f"{prefix}.norm.bias"])
    q, kv = linear("q", x), linear("kv", source)
    k, v, d = kv[:, :c], kv[:, c:], c // heads
    out = torch.zeros_like(x)
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        for n in range(len(x)):
            scores = torch.exp(k[:, part] @ q[n, part] / math.sqrt(d))
            out[n, part] = (scores[:, None] * v[:, part]).sum(0) / scores.sum()
    return linear("proj", out)


def slow_forward(state, image, depths, token):
    """Logits and the four maps of one image (3, H, W) at the constructed size."""

    def norm(name, x, eps):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)

    x, maps = image, []
    for stage in range(4):
        n = stage + 1
        weight = state[f"patch_embed{n}.proj.weight"]
        x = F.conv2d(x[None], weight, state[f"patch_embed{n}.proj.bias"], stride=weight.shape[-1])[0]
        size = x.shape[1:]
        x = norm(f"patch_embed{n}.norm", x.flatten(1).T, 1e-5)
        if token and stage == 3:
            x = torch.cat([state["cls_token"][0], x])
        x = x + state[f"pos_embed{n}"][0]
        for layer in range(depths[stage]):
            block = f"block{n}.{layer}"
            y = norm(f"{block}.norm1", x, 1e-6)
            x = x + slow_attention(state, f"{block}.attn", y, HEADS[stage], REDUCTIONS[stage], size)
            y = norm(f"{block}.norm2", x, 1e-6) @ state[f"{block}.mlp.fc1.weight"].T + state[f"{block}.mlp.fc1.bias"]
            y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
            x = x + y @ state[f"{block}.mlp.fc2.weight"].T + state[f"{block}.mlp.fc2.bias"]
        last, x = x, x[-size.numel() :].T.reshape(-1, *size)
        maps.append(x)
    features = norm("norm", last, 1e-6)
    pooled = features[0] if token else features.mean(0)
    return pooled @ state["head.weight"].T + state["head.bias"], maps


def small(**arguments):
    torch.manual_seed(0)
    model = PyramidVisionTransformer(**{**TINY, "img_size": (32, 64), **arguments}).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize(("heads", "reduction"), [(1, 4), (2, 2), (4, 1)])
def test_attention_is_the_slow_one(heads, reduction):
    torch.manual_seed(0)
    attention = Attention(8, heads, reduction).double()
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 32, 8, dtype=torch.float64)
    state = {f"a.{name}": value for name, value in attention.state_dict().items()}
    expected = torch.stack([slow_attention(state, "a", one, heads, reduction, (4, 8)) for one in x])
    torch.testing.assert_close(attention(x, (4, 8)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("token", [True, False])
def test_model_is_the_slow_one(token):
    model = small(class_token=token).double()
    images = torch.randn(2, 3, 32, 64, dtype=torch.float64)
    logits, (features, maps) = model(images), model.forward_intermediates(images)
    assert torch.equal(features, model.forward_features(images))
    for i, image in enumerate(images):
        expected_logits, expected_maps = slow_forward(model.state_dict(), image, TINY["depths"], token)
        torch.testing.assert_close(logits[i], expected_logits, rtol=1e-8, atol=1e-8)
        for own, expected in zip(maps, expected_maps, strict=True):
            torch.testing.assert_close(own[i], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("name", "millions"), [("tiny", 13.2), ("small", 24.5), ("medium", 44.2), ("large", 61.4)])
def test_published_names_shapes_and_sizes(name, millions):
    """Sizes: the authors' model zoo (classification/README.md), with the classifier."""
    with torch.device("meta"):
        model = timm.create_model(f"pvt_{name}")
    expected = published(DEPTHS[f"pvt_{name}"])
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == expected
    assert round(sum(math.prod(shape) for shape in expected.values()) / 1e6, 1) == millions


@pytest.mark.parametrize("options", [{"class_token": False}, {"global_pool": ""}])
def test_dense_small_count(options):
    """The encoder of Polyhistor's PVT table (https://arxiv.org/abs/2210.03265): four of them are printed as 95.88 M."""
    with torch.device("meta"):
        model = timm.create_model("pvt_small", num_classes=0, **options)
    model.prune_intermediate_layers([0, 1, 2, 3], prune_norm=True)
    expected = published(DEPTHS["pvt_small"])
    dropped = sum(math.prod(s) for n, s in expected.items() if n.split(".")[0] in ("norm", "head", "cls_token")) + 512
    assert sum(p.numel() for p in model.parameters()) == 23_970_816
    assert sum(math.prod(shape) for shape in expected.values()) - dropped == 23_970_816


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_authors_checkpoint_loads(wrapper):
    state = fabricated()
    names = set(state)
    model = timm.create_model("pvt_tiny", **TINY)
    model.load_state_dict(checkpoint_filter_fn({wrapper: state} if wrapper else state, model))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert set(state) == names


@pytest.mark.parametrize("has_token", [True, False], ids=["classification", "detection"])
def test_authors_checkpoint_loads_without_the_class_token(has_token):
    """The authors' dense models keep stage 4's position of the class token, but no token."""
    state = fabricated()
    given = {name: value for name, value in state.items() if has_token or name != "cls_token"}
    model = timm.create_model("pvt_tiny", **TINY, class_token=False)
    model.load_state_dict(checkpoint_filter_fn(given, model))
    assert torch.equal(model.pos_embed4, state["pos_embed4"][:, 1:])
    again = timm.create_model("pvt_tiny", **TINY, class_token=False)
    again.load_state_dict(checkpoint_filter_fn(model.state_dict(), again))
    assert torch.equal(again.pos_embed4, model.pos_embed4)


def test_pretrained_path_of_timm(tmp_path):
    """timm's own loading: the filter, then a new classifier and other input channels."""
    state = fabricated()
    torch.save({"model": state}, tmp_path / "pvt.pth")
    source = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(tmp_path / "pvt.pth")}}
    model = timm.create_model("pvt_tiny", **{**TINY, "num_classes": 7}, in_chans=1, class_token=False, **source)
    assert torch.equal(model.block4[0].mlp.fc2.weight, state["block4.0.mlp.fc2.weight"])
    torch.testing.assert_close(model.patch_embed1.proj.weight, state["patch_embed1.proj.weight"].sum(1, keepdim=True))
    assert model(torch.randn(1, 1, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("token", [True, False])
def test_authors_checkpoint_loads_at_another_size(token):
    state = fabricated()
    model = timm.create_model("pvt_tiny", **TINY, img_size=(96, 160), class_token=token)
    model.load_state_dict(checkpoint_filter_fn(state, model))
    for n, (old, new) in enumerate(zip((56, 28, 14, 7), ((24, 40), (12, 20), (6, 10), (3, 5)), strict=True), start=1):
        whole = state[f"pos_embed{n}"]
        grid = whole[:, -old * old :].transpose(1, 2).reshape(1, -1, old, old)
        # the authors resample at run time: F.interpolate(mode="bilinear")
        expected = F.interpolate(grid, size=new, mode="bilinear").flatten(2).transpose(1, 2)
        expected = torch.cat([whole[:, :1], expected], 1) if token and n == 4 else expected
        torch.testing.assert_close(getattr(model, f"pos_embed{n}").detach(), expected)


def test_resampled_at_run_time_as_at_loading():
    small_grid, large_grid = small(img_size=64), small(img_size=(96, 160))
    large_grid.load_state_dict(checkpoint_filter_fn(small_grid.state_dict(), large_grid))
    images = torch.randn(1, 3, 96, 160)
    torch.testing.assert_close(small_grid(images), large_grid(images))


def test_positions_are_not_resampled_at_the_constructed_size(monkeypatch):
    model, images = small(), torch.randn(1, 3, 32, 64)
    monkeypatch.setattr(F, "interpolate", None)
    model(images)
    with pytest.raises(TypeError):
        model(torch.randn(1, 3, 64, 32))


def test_checkpoint_of_another_oblong_size_is_refused():
    model = small(img_size=64)
    with pytest.raises(ValueError, match="pos_embed1 has 128 positions, which is no square grid"):
        checkpoint_filter_fn(small(img_size=(32, 64)).state_dict(), model)


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("token", [True, False])
def test_feature_maps(token, batch):
    model = small(class_token=token)
    maps = model.forward_intermediates(torch.randn(batch, 3, 96, 160), intermediates_only=True)
    sizes = [(24, 40), (12, 20), (6, 10), (3, 5)]
    assert [tuple(m.shape) for m in maps] == [(batch, c, *s) for c, s in zip(TINY["embed_dims"], sizes, strict=True)]
    assert [info["reduction"] for info in model.feature_info] == [4, 8, 16, 32]
    assert [info["num_chs"] for info in model.feature_info] == list(TINY["embed_dims"])


def test_intermediates_options():
    model, images = small(), torch.randn(2, 3, 32, 64)
    features, maps = model.forward_intermediates(images)
    last, normed = model.forward_intermediates(images, indices=1, norm=True)
    assert torch.equal(last, features)
    by_hand = features[:, 1:].transpose(1, 2).reshape(maps[3].shape)
    torch.testing.assert_close(normed[0], by_hand)
    early, two = model.forward_intermediates(images, indices=[0, -3], stop_early=True)
    assert [torch.equal(a, b) for a, b in zip(two, maps[:2], strict=True)] == [True, True]
    torch.testing.assert_close(early.transpose(1, 2).reshape(maps[1].shape), maps[1])
    with pytest.raises(ValueError, match="valid: 'NCHW'"):
        model.forward_intermediates(images, output_fmt="NHWC")


def test_pruning_keeps_the_maps():
    images = torch.randn(2, 3, 32, 64)
    expected = small().forward_intermediates(images, indices=[0, 2], intermediates_only=True)
    model = small()
    assert model.prune_intermediate_layers([0, 2]) == [0, 2]
    got = model.forward_intermediates(images, indices=[0, 2], intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert {name.split(".")[0] for name in model.state_dict()} == {
        f"{part}{stage}" for part in ("patch_embed", "pos_embed", "block") for stage in (1, 2, 3)
    }
    assert model(images).shape == (2, 8, 40)
    assert model.num_features == 40


def test_features_only_wrapper():
    model = timm.create_model("pvt_tiny", features_only=True, out_indices=(1, 3), **TINY)
    assert [m.shape[1:] for m in model(torch.randn(1, 3, 64, 64))] == [(16, 8, 8), (64, 2, 2)]
    assert model.feature_info.channels() == [16, 64]


@pytest.mark.parametrize(("pool", "shape"), [("token", (2, 7)), ("avg", (2, 7)), ("", (2, 3, 7))])
def test_reset_classifier(pool, shape):
    model, images = small(), torch.randn(2, 3, 32, 64)
    model.reset_classifier(7, pool)
    features = model.forward_features(images)
    pooled = {"token": features[:, 0], "avg": features[:, 1:].mean(1), "": features}[pool]
    torch.testing.assert_close(model.forward_head(features, pre_logits=True), pooled)
    assert model(images).shape == shape
    assert model.get_classifier().out_features == model.num_classes == 7
    model.reset_classifier(0)
    torch.testing.assert_close(model(images), pooled)


def test_gradient_checkpointing_changes_nothing():
    plain, saving = small().train(), small().train()
    saving.set_grad_checkpointing()
    images = torch.randn(2, 3, 32, 64)
    for model in (plain, saving):
        model(images).square().sum().backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_parameter_groups_for_layer_decay():
    model = small()
    groups = {tuple(sorted(names)) for names in group_parameters(model, model.group_matcher()).values()}
    of = {name: group for group in groups for name in group}
    assert sum(len(group) for group in groups) == len(of) == len(list(model.parameters()))
    assert len(groups) == 1 + sum(TINY["depths"]) + 1  # stem, layers, head; the norm is with the last layer
    assert of["pos_embed1"] == of["patch_embed1.proj.weight"] != of["block1.0.attn.q.weight"]
    assert of["cls_token"] == of["pos_embed4"] == of["block4.0.attn.q.weight"]
    coarse = group_parameters(model, model.group_matcher(coarse=True))
    assert len(coarse) == 1 + 4 + 1
    assert model.no_weight_decay() == {"cls_token"}


def test_drop_path_rises_linearly():
    model = small(drop_path_rate=0.4)
    blocks = [*model.block1, *model.block2, *model.block3, *model.block4]
    assert [block.drop_path1.drop_prob for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_compiles_to_one_graph():
    model, images = small(depths=(1, 1, 1, 1)), torch.randn(1, 3, 64, 96)  # another size than constructed

    def maps(x):
        return model.forward_intermediates(x, intermediates_only=True)

    for got, expected in zip(torch.compile(maps, fullgraph=True, backend="eager")(images), maps(images), strict=True):
        torch.testing.assert_close(got, expected)


def test_submodules_can_be_replaced_by_wrappers_of_the_same_signature():
    """What adaptation methods rely on: every part is called as a module, its tokens first."""

    class Doubled(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base

        def forward(self, x, *rest):
            assert x.ndim == 3
            return 2 * self.base(x, *rest)

    model, halved, images = small(), small(), torch.randn(1, 3, 32, 64)
    block = model.block2[1]
    for name in ("norm1", "norm2", "attn", "mlp"):
        setattr(block, name, Doubled(getattr(block, name)))
    for name in ("norm1", "norm2", "attn.proj", "mlp.fc2"):  # the last step of each part: twice its affine map
        part = halved.block2[1].get_submodule(name)
        part.weight.data *= 2
        part.bias.data *= 2
    torch.testing.assert_close(model(images), halved(images))


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"multiples of 32, got \(H, W\) = \(100, 64\)"):
        PyramidVisionTransformer(img_size=(100, 64))
    with pytest.raises(ValueError, match=r"multiples of 32, got \(H, W\) = \(48, 64\)"):
        small()(torch.randn(1, 3, 48, 64))
    with pytest.raises(ValueError, match=r"unknown global_pool 'token'; valid without a class token: \('avg', ''\)"):
        small(class_token=False, global_pool="token")
    with pytest.raises(ValueError, match="num_heads must divide the width"):
        small(num_heads=(3, 2, 5, 8))
