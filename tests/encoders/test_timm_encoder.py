"""Creating, sizing and loading encoders."""

from __future__ import annotations

import pickle
import time

import pytest
import timm
import torch
from conftest import SIZES, SMALL_ENCODERS, small_encoder
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from mtl.encoders.pyramid import to_pyramid
from mtl.encoders.sites import find_sites, select
from mtl.encoders.timm_models import check_model_arguments
from mtl.encoders.weights import locate, read_state_dict
from mtl.registry import ENCODERS

families = pytest.mark.parametrize("family", sorted(SMALL_ENCODERS))


@families
@pytest.mark.parametrize("scale", [1, 2])
def test_four_maps_at_four_strides(family, scale):
    """Also at twice the size that the encoder was made for."""
    encoder = small_encoder(family).eval()
    H, W = (scale * side for side in SIZES.get(family, (64, 96)))
    with torch.no_grad():
        maps = encoder(torch.randn(2, 3, H, W))
    expected = [(2, c, -(-H // s), -(-W // s)) for c, s in zip(encoder.channels, (4, 8, 16, 32), strict=True)]
    assert [tuple(x.shape) for x in maps] == expected
    empty = encoder.empty_maps(torch.zeros(2, 3, H, W))
    assert [tuple(x.shape) for x in empty] == [(0, *shape[1:]) for shape in expected]


def test_swins_maps_are_timms_features():
    """timm's own `features_only` wrapper of the same weights is the reference."""
    encoder = small_encoder("swin").eval()
    config = SMALL_ENCODERS["swin"]
    options = {"img_size": (64, 96), "dynamic_img_size": True, **config["options"]}
    theirs = timm.create_model(config["name"], features_only=True, **options).eval()
    theirs.load_state_dict({k.replace("layers.", "layers_"): v for k, v in encoder.model.state_dict().items()})
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        for ours, reference in zip(encoder(x), theirs(x), strict=True):
            torch.testing.assert_close(ours, reference.permute(0, 3, 1, 2))


@pytest.mark.parametrize("family", ["swin", "pvt", "vit"])
def test_a_final_norm_is_kept_on_request(family, tmp_path):
    source = small_encoder(family, final_norm=True)
    torch.nn.init.normal_(source.model.norm.weight)
    path = tmp_path / "weights.safetensors"
    save_file(source.model.state_dict(), path)
    kept = small_encoder(family, seed=2, weights=str(path), final_norm=True).eval()
    without = small_encoder(family, seed=2, weights=str(path)).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = without.model.forward_intermediates(x, indices=without.taps, intermediates_only=True)
        for i in range(4) if family == "vit" else [3]:
            maps[i] = source.model.norm(maps[i].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        expected = to_pyramid(maps, (64, 96)) if family == "vit" else maps
        for ours, reference in zip(kept(x), expected, strict=True):
            torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("family", ["pvt_v2", "convnext"])
def test_a_final_norm_that_is_not_there(family):
    with pytest.raises(ValueError, match="has no final norm"):
        small_encoder(family, final_norm=True)


@families
def test_frozen_part_stays_in_eval_mode(family):
    encoder = small_encoder(family)
    encoder.train()
    assert not any(module.training for module in encoder.model.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    encoder.unfreeze()
    assert all(module.training for module in encoder.model.modules())
    assert all(p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@families
def test_local_weights(family, suffix, tmp_path):
    source = small_encoder(family, seed=1)
    path = tmp_path / f"weights{suffix}"
    state = {name: value.clone() for name, value in source.model.state_dict().items()}
    state |= {"norm.weight": torch.ones(3), "head.fc.weight": torch.ones(2, 3)}
    if suffix == ".pth":
        torch.save({"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    else:
        save_file(state, path)
    loaded = small_encoder(family, seed=2, weights=str(path))
    assert loaded.fingerprint == source.fingerprint != small_encoder(family, seed=2).fingerprint


def test_weights_that_do_not_fit(tmp_path):
    state = dict(small_encoder("swin").model.state_dict())
    state.pop("layers.0.blocks.0.norm1.bias")
    state["layers.1.blocks.0.mlp.fc1.weight"] = torch.zeros(2, 2)
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    with pytest.raises(ValueError, match=r"missing layers\.0\.blocks\.0\.norm1\.bias.*mis-shaped layers\.1.*\(2, 2\)"):
        small_encoder("swin", weights=str(path))


class Payload:
    def __reduce__(self):
        return print, ("code ran",)


def test_weights_with_code_are_refused(tmp_path, capsys):
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match=r"w\.pth"):
        read_state_dict(path)
    torch.save({"model": Payload()}, path)
    with pytest.raises(ValueError, match="more than tensors"):
        read_state_dict(path)
    assert "code ran" not in capsys.readouterr().out


def test_hub_weights_are_asked_of_timm(monkeypatch):
    """No network here: that `weights=True` becomes timm's `pretrained=True` at the right size is what can be seen."""
    asked = {}
    create = timm.create_model

    def spy(name, pretrained=False, **options):
        asked.update(name=name, pretrained=pretrained, **options)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", spy)
    small_encoder("swin", weights=True)
    assert asked["pretrained"] is True
    assert asked["img_size"] == (64, 96)


def test_without_a_network_the_hub_is_asked_once(monkeypatch, tmp_path):
    def wait(seconds):
        raise AssertionError(f"waits {seconds} s before it asks again")

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(time, "sleep", wait)
    with pytest.raises(ValueError, match=r"http://127.0.0.1:9 cannot be reached: .*\(encoder.weights=FILE\)"):
        small_encoder("swin", weights=True)
    assert not constants.HF_HUB_OFFLINE


class ReadTimeout(Exception):  # noqa: N818
    """As both HTTP libraries that the hub's client has used call it."""


@pytest.mark.parametrize(("answer", "offline"), [(ConnectionError, True), (ReadTimeout, False), (None, False)])
def test_weights_in_the_cache_need_no_network_and_slow_networks_work(answer, offline, monkeypatch):
    class Session:
        def head(self, url, timeout):
            if answer is not None:
                raise answer

    seen, create = [], timm.create_model

    def spy(name, pretrained=False, **options):
        seen.append((pretrained, constants.HF_HUB_OFFLINE))
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("mtl.encoders.timm_models.get_session", Session)
    monkeypatch.setattr(timm, "create_model", spy)
    small_encoder("swin", weights=True)
    assert seen == [(True, offline)]


def test_shipped_weights_are_small_and_load():
    path = locate("mtl:swin_nano_blocks")
    assert path.stat().st_size <= 8e6
    options = {"embed_dim": 48, "depths": (2, 2, 2, 1), "num_heads": (2, 4, 8, 16), "window_size": 6}
    name = SMALL_ENCODERS["swin"]["name"]
    config = {"type": "TimmEncoder", "name": name, "size": (96, 96), "options": options}
    encoder = ENCODERS.build({**config, "weights": "mtl:swin_nano_blocks"})
    # other weights mean other numbers of the quickstart, in the README and in its stored results
    assert encoder.fingerprint == "32d248463286e03c"


KINDS = {
    # per layer of a block: two norms; further norms by family
    "swin": {"block": 7, "norm": 14 + 4, "attn.qkv": 7, "relative_position_bias": 7, "downsample.reduction": 3},
    # those of the reduced keys and values too, in four of its layers
    "pvt": {"block": 5, "norm": 10 + 4 + 4, "attn.sr": 4, "attn.q": 5, "attn.kv": 5, "downsample": 3},
    "pvt_v2": {"block": 5, "attn.q": 5, "attn.kv": 5, "mlp.fc1": 5, "mlp.dwconv": 5, "downsample": 3},
    "convnext": {
        "block": 6,
        "conv_dw": 6,
        "norm": 6 + 4,
        "mlp.fc1": 6,
        "downsample.reduction": 3,
        "patch_embed.proj": 1,
    },
    "deit": {"block": 4, "norm": 8, "attn.qkv": 4, "patch_embed.proj": 1},
    "vit": {"block": 4, "norm": 8, "attn": 4, "attn.qkv": 4, "mlp.fc2": 4, "patch_embed": 1},
}


@pytest.mark.parametrize("family", KINDS)
def test_sites(family):
    encoder = small_encoder(family)
    sites = encoder.sites()
    for kind, number in KINDS[family].items():
        assert sum(site.kind == kind for site in sites) == number, kind
    layers = [site.layer for site in sites if site.kind == "block"]
    assert layers == list(range(len(layers)))


@families
def test_a_sites_width_is_that_of_what_enters(family):
    encoder = small_encoder(family)
    entered = {}
    sites = [site for site in encoder.sites() if site.kind != "relative_position_bias"]
    for site in sites:
        assert site.module is encoder.model.get_submodule(site.path)
        site.module.register_forward_pre_hook(lambda _, x, path=site.path: entered.update({path: x[0].shape}))
    with torch.no_grad():
        encoder(torch.randn(1, 3, *SIZES.get(family, (64, 96))))
    assert len(entered) == len(sites)
    for site in sites:
        shape = entered[site.path]
        channels_first = isinstance(site.module, nn.Conv2d) or site.kind == "patch_embed" or shape[-1] != site.dim
        assert shape[1 if channels_first else -1] == site.dim, site.path


def test_selecting_sites():
    sites = find_sites(small_encoder("swin").model)
    assert {site.kind for site in select(sites, ["mlp", "attn"])} == {"mlp", "attn"}
    assert [site.path for site in select(sites, "layers.3.*.mlp")] == ["layers.3.blocks.0.mlp"]
    with pytest.raises(ValueError, match=r"no site .*'mlpp'; did you mean 'mlp'\?"):
        select(sites, ["attn", "mlpp"])


def test_family_without_sites():
    with pytest.raises(ValueError, match="SwinTransformer"):
        find_sites(nn.Linear(2, 2))


REFUSED = [
    *("in_chans", "num_classes", "global_pool"),
    *("features_only", "out_indices", "scriptable", "exportable", "cache_dir", "pretrained", "pretrained_strict"),
    *(
        "checkpoint_path",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_filter_fn",
        "model_cfg",
        "feature_cfg",
    ),
    *("device", "dtype", "args", "kwargs"),
]
"""Arguments of `timm.create_model`, of its builder and of its classes that a frozen encoder has no use for."""


@pytest.mark.parametrize("key", REFUSED)
@families
def test_arguments_that_the_encoder_does_not_take(family, key, monkeypatch):
    monkeypatch.setattr(timm, "create_model", None)  # nothing is built of them
    with pytest.raises(ValueError, match=rf"{key}.*encoder\.options|encoder\.options.*{key}"):
        check_model_arguments(SMALL_ENCODERS[family]["name"], {key: 4})


@families
def test_arguments_that_the_encoder_takes(family):
    check_model_arguments(SMALL_ENCODERS[family]["name"], {**SMALL_ENCODERS[family]["options"], "drop_path_rate": 0.1})


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("swin", {"depths": 5}, "depths is a list .each an integer., not 5"),
        ("swin", {"drop_path_rate": float("inf")}, "drop_path_rate is a finite number, not inf"),
        ("swin", {"class_token": False}, "SwinTransformer has no argument 'class_token'"),
        ("swin", {"patch_size": 2}, r"strides \[2, 4, 8, 16\], not \[4, 8, 16, 32\]"),
        ("convnext", {"output_stride": 16}, "sets output_stride itself"),
        ("vit", {"class_token": False}, "sets class_token itself"),
        ("deit", {"embed_layer": "x"}, "embed_layer is a class or function, not 'x'"),
        ("vit", {"norm_layer": "x"}, "vit_tiny_patch16_224 with .*'norm_layer': 'x'"),
    ],
)
def test_arguments_with_values_that_do_not_work(family, options, message):
    with pytest.raises(ValueError, match=message):
        small_encoder(family, options={**SMALL_ENCODERS[family]["options"], **options})
