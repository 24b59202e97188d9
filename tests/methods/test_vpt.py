"""Prompts against slow references, written from the papers' words and run on encoders without adapters.

Everything is float64 with a tolerance of 1e-10: only the order of sums differs.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from conftest import attached, small_encoder

from mtl.registry import METHODS

TASK, P = 1, 3


def adapted(family: str, config: dict):
    """An encoder without adapters, one with, the method, and images."""
    encoder, method = attached(family, {"type": "VPT", **config})
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))  # of the tokens' size
    encoder.eval().double()
    method.double()
    x = torch.randn(2, 3, *encoder.size, generator=generator).double()
    return small_encoder(family).eval().double().model, encoder, method, x


def run(encoder, method, x, task=TASK):
    method.context.activate((task,), x.device)
    method.context.generated = method.generate()
    with torch.no_grad():
        return encoder.model.forward_intermediates(x, indices=encoder.taps, intermediates_only=True)


def own_prompts(method, depths, task=TASK) -> list:
    """Each layer's own prompts of a task, or None, from the parameters; ``depths`` of the stages."""
    layers: list = []
    for stage, depth in enumerate(depths):
        rows = method.bank[stage].prompts[task].detach() if stage < len(method.bank) else []
        layers += [rows[i] if i < len(rows) else None for i in range(depth)]
    return layers


def check(ours, theirs):
    assert len(ours) == len(theirs) == 4
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def attention(q, k, v, heads, bias=0.0):
    """``(n, C)``, ``(m, C)``, ``(m, C)`` to ``(n, C)``, a head at a time; ``bias`` ``(heads, n, m)``."""
    results = []
    for head, (a, b, c) in enumerate(zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True)):
        logits = a @ b.T / a.shape[-1] ** 0.5
        results.append((logits + (bias if isinstance(bias, float) else bias[head])).softmax(-1) @ c)
    return torch.cat(results, -1)


SCHEDULES = {
    "shallow": {},
    "deep": {"deep": True},
    "first": {"deep": True, "layers": 2},
}
schedules = pytest.mark.parametrize("schedule", SCHEDULES)


@schedules
@pytest.mark.parametrize("family", ["vit", "deit", "dinov2"])
def test_vit_equals_concatenation(family, schedule):
    model, encoder, method, images = adapted(family, {"prompts": P, **SCHEDULES[schedule]})
    prompts = own_prompts(method, [4])
    assert [p is not None for p in prompts] == {
        "shallow": [True, False, False, False],
        "deep": [True] * 4,
        "first": [True, True, False, False],
    }[schedule]
    n, maps = model.num_prefix_tokens, []
    with torch.no_grad():
        x = model.norm_pre(model._pos_embed(model.patch_embed(images)))
        x = torch.cat([x[:, :n], prompts[0].expand(2, -1, -1), x[:, n:]], 1)
        for i, block in enumerate(model.blocks):
            if i and prompts[i] is not None:
                x = torch.cat([x[:, :n], prompts[i].expand(2, -1, -1), x[:, n + P :]], 1)
            x = block(x)
            patches, grid = x[:, n + P :], [side // model.patch_embed.patch_size[0] for side in encoder.size]
            maps.append(patches.reshape(2, *grid, -1).permute(0, 3, 1, 2))
    check(run(encoder, method, images), maps)


def test_vit_last_layers_are_untouched_before():
    model, encoder, method, images = adapted("vit", {"deep": True, "layers": -1, "prompts": P})
    with torch.no_grad():
        plain = model.forward_intermediates(images, indices=encoder.taps, intermediates_only=True)
    ours = run(encoder, method, images)
    assert all(torch.equal(a, b) for a, b in zip(ours[:3], plain[:3], strict=True))
    assert not torch.equal(ours[3], plain[3])


def swin_block(block, x, prompts):
    """One image's tokens ``(H, W, C)`` and its prompts ``(p, C)`` through a block, a window at a time."""
    (H, W, C), p, attn = x.shape, len(prompts), block.attn
    (wh, ww), (sh, sw) = block.window_size, block.shift_size
    Hp, Wp = -(-H // wh) * wh, -(-W // ww) * ww
    normed, normed_prompts = block.norm1(x), block.norm1(prompts)
    padded = x.new_zeros(Hp, Wp, C)
    padded[:H, :W] = normed
    cells = [(i, j) for i in range(wh) for j in range(ww)]
    bias = x.new_zeros(attn.num_heads, p + len(cells), p + len(cells))
    for a, (i, j) in enumerate(cells):
        for b, (k, m) in enumerate(cells):
            bias[:, p + a, p + b] = attn.relative_position_bias_table[(i - k + wh - 1) * (2 * ww - 1) + j - m + ww - 1]

    def region(at, size, window, shift):
        """After a shift the last window holds what was at both ends of the map."""
        return 0 if not shift or at < size - window else 1 if at < size - shift else 2

    result, of_prompts = torch.zeros_like(padded), []
    for top in range(0, Hp, wh):
        for left in range(0, Wp, ww):
            shifted = [(top + i, left + j) for i, j in cells]
            sources = [((i + sh) % Hp, (j + sw) % Wp) for i, j in shifted]
            regions = [(region(i, Hp, wh, sh), region(j, Wp, ww, sw)) for i, j in shifted]
            masked = bias.clone()
            for a, one in enumerate(regions):
                for b, other in enumerate(regions):
                    if one != other:
                        masked[:, p + a, p + b] -= 100
            tokens = torch.cat([normed_prompts, torch.stack([padded[i, j] for i, j in sources])])
            q, k, v = attn.qkv(tokens).chunk(3, -1)
            y = attn.proj(attention(q, k, v, attn.num_heads, masked))
            of_prompts.append(y[:p])
            for (i, j), value in zip(sources, y[p:], strict=True):
                result[i, j] = value
    x = x + result[:H, :W]
    prompts = prompts + sum(of_prompts) / len(of_prompts)
    return x + block.mlp(block.norm2(x)), prompts + block.mlp(block.norm2(prompts))


def swin_merge(merging, x, prompts):
    quarters = [x[i::2, j::2] for j in (0, 1) for i in (0, 1)]
    merged = merging.reduction(merging.norm(torch.cat(quarters, -1)))
    return merged, merging.reduction(merging.norm(torch.cat([prompts] * 4, -1)))


@schedules
def test_swin_equals_window_by_window(schedule):
    model, encoder, method, images = adapted("swin", {"prompts": P, **SCHEDULES[schedule]})
    blocks = [block for stage in model.layers for block in stage.blocks]
    assert {(0, 0), (2, 2), (0, 2)} == {tuple(block.shift_size) for block in blocks}
    with torch.no_grad():
        results = []
        for image in images:
            maps, own, prompts = [], iter(own_prompts(method, [2, 2, 2, 1])), None
            x = model.patch_embed(image[None])[0]
            for stage in model.layers:
                if maps:
                    x, prompts = swin_merge(stage.downsample, x, prompts)
                for block in stage.blocks:
                    new = next(own)
                    x, prompts = swin_block(block, x, prompts if new is None else new)
                maps.append(x.permute(2, 0, 1))
            results.append(maps)
    check(run(encoder, method, images), [torch.stack(maps) for maps in zip(*results, strict=True)])


def pvt_block(block, x, prompts, grid, heads):
    """One image's tokens ``(N, C)`` and its prompts ``(p, C)``; v2's MLP has a depthwise convolution."""
    attn, mlp, p = block.attn, block.mlp, len(prompts)
    normed, normed_prompts = block.norm1(x), block.norm1(prompts)
    sources = normed
    if attn.sr is not None:
        sources = attn.norm(attn.sr(normed.T.reshape(1, -1, *grid))[0].flatten(1).T)
    k, v = attn.kv(torch.cat([normed_prompts, sources])).chunk(2, -1)
    y = attn.proj(attention(attn.q(torch.cat([normed_prompts, normed])), k, v, heads))
    x, prompts = x + y[p:], prompts + y[:p]
    hidden, hidden_prompts = mlp.fc1(block.norm2(x)), mlp.fc1(block.norm2(prompts))
    if hasattr(mlp, "dwconv"):
        hidden = mlp.dwconv(hidden.T.reshape(1, -1, *grid))[0].flatten(1).T
    return x + mlp.fc2(F.gelu(hidden)), prompts + mlp.fc2(F.gelu(hidden_prompts))


def embedded(embedding, prompts):
    """A patch that is the prompt at each of its places."""
    conv = embedding.proj
    return embedding.norm(prompts @ conv.weight.sum((2, 3)).T + conv.bias)


@schedules
@pytest.mark.parametrize("family", ["pvt", "pvt_v2"])
def test_pvt_by_hand(family, schedule):
    model, encoder, method, images = adapted(family, {"prompts": P, **SCHEDULES[schedule]})
    with torch.no_grad():
        results = []
        for image in images:
            maps, own, prompts, x = [], iter(own_prompts(method, [1, 2, 1, 1])), None, image
            for i, heads in enumerate((1, 2, 5, 8)):
                if family == "pvt":
                    embed, blocks = getattr(model, f"patch_embed{i + 1}"), getattr(model, f"block{i + 1}")
                else:
                    embed = model.patch_embed if i == 0 else model.stages[i].downsample
                    blocks = model.stages[i].blocks
                grid = [side // 2 ** (i + 2) for side in image.shape[1:]]
                tokens = embed(x[None])[0].reshape(-1, blocks[0].norm1.normalized_shape[0])
                if i:
                    prompts = embedded(embed, prompts)
                if family == "pvt":
                    at_224 = getattr(model, f"pos_embed{i + 1}").unflatten(1, model.grids[i]).permute(0, 3, 1, 2)
                    tokens = (
                        tokens + F.interpolate(at_224.float(), grid, mode="bilinear").flatten(2)[0].T
                    )  # timm: float32
                for block in blocks:
                    new = next(own)
                    tokens, prompts = pvt_block(block, tokens, prompts if new is None else new, grid, heads)
                if family == "pvt_v2":
                    tokens, prompts = model.stages[i].norm(tokens), model.stages[i].norm(prompts)
                x = tokens.T.reshape(-1, *grid)
                maps.append(x)
            results.append(maps)
    check(run(encoder, method, images), [torch.stack(maps) for maps in zip(*results, strict=True)])


FAMILIES = ["swin", "vit", "pvt", "pvt_v2"]


@pytest.mark.parametrize("family", FAMILIES)
def test_prefixes_equal_deep_prompts(family):
    """Keys and values of deep prompts, made by hand, do what the prompts do."""
    model, deep, method, images = adapted(family, {"deep": True, "prompts": P})
    _, encoder, prefixes, _ = adapted(family, {"deep": True, "prompts": P, "form": "prefix"})
    blocks = [m for m in model.modules() if hasattr(m, "attn")]
    with torch.no_grad():
        for stage, own in zip(prefixes.bank, method.bank, strict=True):
            for row in range(own.rows):
                block, prompts = blocks.pop(0), own.prompts[:, row]
                maps = block.attn.kv if hasattr(block.attn, "kv") else block.attn.qkv
                width = prompts.shape[-1]
                stage.prompts[:, row] = maps(block.norm1(prompts))[..., -2 * width :]
    assert not blocks
    check(run(encoder, prefixes, images), run(deep, method, images))


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_equal_the_tokens_that_they_become(family):
    model, encoder, pixels, images = adapted(family, {"form": "prepend-pixel", "prompts": P})
    _, shallow, method, _ = adapted(family, {"prompts": P})
    stem = model.patch_embed1 if family == "pvt" else model.patch_embed
    with torch.no_grad():
        tokens = pixels.bank[0].prompts @ stem.proj.weight.flatten(1).T + stem.proj.bias
        method.bank[0].prompts.copy_(stem.norm(tokens))
    check(run(encoder, pixels, images), run(shallow, method, images))


@pytest.mark.parametrize("form", ["add", "add-1"])
def test_added_prompts(form):
    model, encoder, method, images = adapted("vit", {"form": form, "deep": True})
    prompts, maps = own_prompts(method, [4]), []
    assert prompts[0].shape == ((4 * 6 if form == "add" else 1), 48)
    with torch.no_grad():
        x = model._pos_embed(model.patch_embed(images))
        for block, added in zip(model.blocks, prompts, strict=True):
            x = block(torch.cat([x[:, :1], x[:, 1:] + added], 1))
            maps.append(x[:, 1:].reshape(2, 4, 6, -1).permute(0, 3, 1, 2))
    check(run(encoder, method, images), maps)


def test_added_prompts_need_the_encoders_size():
    _, encoder, method, images = adapted("swin", {"form": "add"})
    with pytest.raises(ValueError, match="added to 384 tokens"):
        run(encoder, method, images[..., :64])


def test_convnext_border():
    model, encoder, method, images = adapted("convnext", {"form": "border", "prompts": P})
    (H, W), rows, columns = encoder.size, method.bank.rows[TASK].detach(), method.bank.columns[TASK].detach()
    framed = torch.zeros(2, 3, H + 2 * P, W + 2 * P).double()
    framed[:, :, :P], framed[:, :, -P:] = rows[:, :P], rows[:, P:]
    framed[:, :, P:-P, :P], framed[:, :, P:-P, -P:] = columns[:, :, :P], columns[:, :, P:]
    framed[:, :, P:-P, P:-P] = images
    theta = torch.tensor([[W / (W + 2 * P), 0, 0], [0, H / (H + 2 * P), 0]]).double().expand(2, -1, -1)
    with torch.no_grad():
        x = model.stem(F.interpolate(framed, (H, W), mode="bilinear", align_corners=False))
        maps = []
        for stage in model.stages:
            x = stage(x)
            grid = F.affine_grid(theta, x.shape, align_corners=False)
            maps.append(F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False))
    # the grid of the reference is float64, the weights of the method's interpolation float32
    for ours, theirs in zip(run(encoder, method, images), maps, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    other = run(encoder, method, images[..., :64])
    assert [tuple(x.shape[-2:]) for x in other] == [(16, 16), (8, 8), (4, 4), (2, 2)]


class Concatenated(torch.nn.Module):
    """A convolution of 3 + p channels on images with p channels beside them."""

    def __init__(self, conv, channels, weight):
        super().__init__()
        self.conv = torch.nn.Conv2d(
            3 + len(channels),
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            bias=conv.bias is not None,
        ).double()
        self.conv.weight.data = torch.cat([conv.weight, weight], 1)
        self.conv.bias.data = conv.bias.data
        self.channels = channels

    def forward(self, x):
        return self.conv(torch.cat([x, self.channels.expand(len(x), -1, -1, -1)], 1))


@pytest.mark.parametrize("family", [*FAMILIES, "dinov2", "convnext"])
def test_channels_equal_a_wider_embedding(family):
    model, encoder, method, images = adapted(family, {"form": "concat-channel", "prompts": 2})
    path = {"pvt": "patch_embed1.proj", "convnext": "stem.0"}.get(family, "patch_embed.proj")
    channels, weight = method.bank.pixels[TASK].detach(), method.bank.weight[TASK].detach()
    model.set_submodule(path, Concatenated(model.get_submodule(path), channels, weight))
    with torch.no_grad():
        expected = model.forward_intermediates(images, indices=encoder.taps, intermediates_only=True, norm=False)
    check(run(encoder, method, images), expected)
    assert len(run(encoder, method, images[:, :, :, :-28] if family == "dinov2" else images[..., :64])) == 4
    encoder.train()
    assert not torch.equal(*run(encoder, method, images[:1].expand(2, -1, -1, -1))[0])  # each drops pixels of its own


def test_shared_and_projected_prompts():
    _, _, method, _ = adapted("swin", {"deep": True, "prompts": P, "shared": "across", "project": 5})
    generated = method.generate()
    assert len(generated) == 7
    stage = method.bank[1]
    assert stage.prompts.shape == (3, 1, P, 5)
    expected = torch.stack([stage.prompts[t, 0] @ stage.weight[t].T + stage.bias[t] for t in range(3)])
    for layer in (0, 1):
        torch.testing.assert_close(generated[f"layers.1.blocks.{layer}.prompts"], expected)


def test_prompts_shared_within_a_layer_equal_copies():
    _, encoder, method, images = adapted("swin", {"prompts": P, "shared": "within"})
    _, copies, method_of_copies, _ = adapted("swin", {"prompts": P})
    with torch.no_grad():
        method_of_copies.bank[0].prompts.copy_(method.bank[0].prompts.expand(-1, -1, P, -1))
    check(run(encoder, method, images), run(copies, method_of_copies, images))


@pytest.mark.parametrize(("family", "patch", "width"), [("swin", 4, 24), ("vit", 16, 48)])
def test_start(family, patch, width):
    _, method = attached(family, {"type": "VPT", "prompts": 500})
    bound = (6 / (3 * patch**2 + width)) ** 0.5
    assert 0.99 * bound < method.bank[0].prompts.abs().max() <= bound


@pytest.mark.parametrize("family", ["swin", "vit", "pvt", "convnext"])
def test_nothing_stays_behind(family):
    """A pass that broke off does not disturb the next, and no pass keeps a tensor alive."""
    config = {"form": "border"} if family == "convnext" else {"prompts": P}
    _, encoder, method, images = adapted(family, config)
    expected = run(encoder, method, images)
    (stream,) = {m.stream for m in encoder.modules() if hasattr(m, "stream")}
    assert (stream.carried, stream.waiting, stream.attended) == (None, None, [])
    mlps = [site.module for site in encoder.sites() if site.kind == "mlp"]
    for broken in (mlps[0], mlps[-1]):
        forward, broken.forward = broken.forward, None
        with pytest.raises(TypeError):
            run(encoder, method, images)
        broken.forward = forward
        check(run(encoder, method, images), expected)
    (copied,) = {m.stream for m in copy.deepcopy(encoder).modules() if hasattr(m, "stream")}
    assert copied is not stream


def test_dropout_while_training_alone():
    _, encoder, method, images = adapted("swin", {"prompts": P, "dropout": 0.5})
    assert torch.equal(run(encoder, method, images)[0], run(encoder, method, images)[0])
    encoder.train()
    assert not torch.equal(run(encoder, method, images)[0], run(encoder, method, images)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"form": "prefx"},
            "unknown form 'prefx' of prompts; did you mean 'prefix'. valid: add, add-1, border, concat-channel, pre",
        ),
        ({"prompts": 0}, "prompts must be 1 or more, not 0"),
        ({"project": 0}, "project must be 1 or more, not 0"),
        ({"shared": "all"}, "cannot be shared 'all'; valid: across, both, within, or None"),
        ({"form": "add", "prompts": 5}, "form 'add' sets the number"),
        ({"form": "border", "deep": True}, "form 'border' is of the image"),
        ({"form": "concat-channel", "layers": 1}, "form 'concat-channel' is of the image"),
        ({"form": "prepend-pixel", "deep": True}, "form 'prepend-pixel' has prompts before"),
        ({"layers": 2}, "layers chooses among deep prompts"),
        ({"dropout": 1}, "dropout must be"),
        ({"deep": True, "layers": 8}, r"layers must be 1..7 \(the first\) or -1..-7 \(the last\) here, not 8"),
        ({"deep": True, "layers": 0}, "layers must be 1..7"),
        (
            {"form": "border"},
            "this encoder, SwinTransformer, takes no prompts of form 'border'; valid: add, add-1, concat-ch",
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message) as error:
        METHODS.build({"type": "VPT", **options}).attach(small_encoder("swin"), ["a"])
    assert "\n" not in str(error.value)
