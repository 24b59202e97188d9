"""What every registered method must keep, on every encoder family."""

from __future__ import annotations

import copy

import pytest
import torch
import torch._dynamo.testing
from conftest import SIZES, SMALL_ENCODERS, attached, small_encoder

from mtl.engine.plugins import register_all
from mtl.registry import METHODS

register_all()

VARIANTS = {
    "Adapter": [{}, {"placement": "sequential", "reduction": 2}],
    "AdaptFormer": [{"bottleneck": 8}],
    "BitFit": [{}, {"relative_position_bias": False}],
    "Compacter": [{"reduction": 2}, {"sites": "mlp", "reduction": 4, "rank": 2}],
    "Composite": [
        {"methods": [{"type": "LoRA"}, {"type": "BitFit"}]},
        {"methods": [{"type": "BitFit"}, {"type": "DoRA"}, {"type": "RelativeBias"}]},
        {"methods": [{"type": "Adapter"}, {"type": "LoRA", "targets": ["fc1"]}]},
        {"methods": [{"type": "LoRA"}, {"type": "SSF"}, {"type": "BitFit"}]},
        {"methods": [{"type": "DoRA"}, {"type": "SSF", "groups": ["norm", "attn"]}, {"type": "LoRA"}]},
        {"methods": [{"type": "VPT", "prompts": 3}, {"type": "BitFit"}, {"type": "LoRA"}]},
        {"methods": [{"type": "VPT", "form": "prefix", "prompts": 2}, {"type": "RelativeBias"}]},
        {"methods": [{"type": "BitFit"}, {"type": "Compacter", "reduction": 2}, {"type": "VPT", "prompts": 3}]},
    ],
    "DoRA": [{}, {"targets": ["k", "proj", "fc2"], "rank": 2, "scale": 0.5}],
    "LoRA": [{}, {"targets": ["k", "proj", "fc1"], "bias": False, "rank": 2}, {"targets": ["fc1", "fc2"]}],
    "LowRankAdapter": [{"reduction": 2}, {"reduction": 2, "rank": 3}],
    "MTLoRA": [{"rank": 6, "task_rank": 2}, {"rank": 3, "task_rank": 5, "scale": 0.5, "own": ["norm"]}],
    "PHMAdapter": [{"reduction": 4}, {"reduction": 2, "p": 4}],
    "Hyperformer": [{}, {"sites": "mlp", "reduction": 16}, {"literal": True}],
    "Polyhistor": [{}, {"placement": "sequential", "rank": 1, "init": "fan_in"}, {"literal": True}],
    "PolyhistorLite": [{}, {"placement": "sequential", "reduction": 4, "init": "fan_in"}, {"literal": True}],
    "SSF": [
        {},
        {"groups": ["embed", "norm", "mlp"], "init": "identity"},
        {"groups": ["norm", "mlp"], "scale": "scalar", "blocks": 2},
        {"groups": "norm", "scale": "none"},
    ],
    "VPT": [
        {"prompts": 3},
        {"deep": True, "prompts": 3},
        {"deep": True, "prompts": 2, "layers": 2, "shared": "within"},
        {"deep": True, "prompts": 2, "layers": -3, "shared": "across", "project": 5},
        {"deep": True, "form": "prefix", "prompts": 2},
        {"form": "prepend-pixel", "prompts": 2},
        {"deep": True, "form": "add"},
        {"form": "add-1"},
        {"form": "border", "prompts": 3},
        {"form": "concat-channel", "prompts": 2},
    ],
}
"""Options under which a method is tested besides its defaults; a method that is not here is tested as it is."""

UNSUPPORTED = {
    "RelativeBias": {"pvt", "pvt_v2", "vit", "deit", "dinov2", "convnext"},  # no tables
    "LoRA": {"convnext"},  # no attention
    "DoRA": {"convnext"},
    "Compacter": {"convnext"},
    "Hyperformer": {"convnext"},
    "VPT": {"convnext"},  # convolutions take no tokens
}
"""Families without a method's default sites."""

TASKS = ("a", "b", "c")
CONFIGS = [{"type": name, **options} for name in sorted(METHODS.module_dict) for options in VARIANTS.get(name, [{}])]


def label(config: dict) -> str:
    parts = config.get("methods", [config])
    return "+".join("-".join([part["type"], *(key for key in part if key != "type")]) for part in parts)


def supports(family: str, config: dict) -> bool:
    if "methods" in config:
        return all(supports(family, part) for part in config["methods"])
    if config.get("form") in ("border", "concat-channel"):
        return family == "convnext" or config["form"] == "concat-channel"
    defaults = "targets" not in config and "sites" not in config
    needs_attention = defaults or set(config.get("targets", ())) & {"q", "k", "v", "proj"}
    return not needs_attention or family not in UNSUPPORTED.get(config["type"], ())


DEFAULTS = {config["type"]: config for config in reversed(CONFIGS)}


def differs(family: str, config: dict) -> bool:
    """Options change adapters, which are alike on all families: one has them all, every family those that it alone has.

    Layers of attention (``targets``) are named and joined in another way in each family.
    """
    default = DEFAULTS[config["type"]]
    return family == "swin" or config is default or "targets" in config or not supports(family, default)


PAIRS = [
    pytest.param(family, config, id=f"{label(config)}-{family}")
    for config in CONFIGS
    for family in sorted(SMALL_ENCODERS)
    if supports(family, config) and differs(family, config)
]
everywhere = pytest.mark.parametrize(("family", "config"), PAIRS)


def images(family: str, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, *SIZES.get(family, (64, 96)), generator=generator)


def run(encoder, method, x, tasks=(0,)):
    """Feature maps for ``tasks``, a task-major batch."""
    method.context.activate(tasks, x.device)
    method.context.generated = method.generate()
    return encoder(x.repeat(len(tasks), 1, 1, 1))


def disturb(*modules, scale: float = 0.1) -> None:
    """Move what trains away from a start where part of it has no effect yet."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def assert_same(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 2e-5) -> None:
    """Equal up to ``tolerance`` of the largest value: float32 through a dozen layers, in another order of sums."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@everywhere
def test_starts_where_the_encoder_is(family, config):
    encoder, method = attached(family, config)
    encoder.eval()
    plain = small_encoder(family).eval()
    with torch.no_grad():
        for task in range(len(TASKS)):
            for ours, theirs in zip(run(encoder, method, images(family), (task,)), plain(images(family)), strict=True):
                if method.exact_start:
                    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
                else:
                    assert ours.shape == theirs.shape


@everywhere
def test_trains_what_it_declares(family, config):
    encoder, method = attached(family, config)
    trained = {n: p for module in (encoder, method) for n, p in module.named_parameters() if p.requires_grad}
    unadapted = small_encoder(family)
    assert sum(p.numel() for p in trained.values()) == method.count(unadapted, len(TASKS))

    disturb(encoder, method)
    frozen = [p.clone() for p in encoder.parameters() if not p.requires_grad]
    encoder.eval()  # drop-path would leave a block out
    generator = torch.Generator().manual_seed(3)
    for task in range(len(TASKS)):
        maps = run(encoder, method, images(family), (task,))
        # random weights: a plain sum has no gradient through a LayerNorm
        score = sum((x * torch.randn(x.shape, generator=generator)).sum() for x in maps)
        if score.requires_grad:
            score.backward()
    for name, parameter in trained.items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name
    assert all(p.grad is None for p in encoder.parameters() if not p.requires_grad)
    now = [p for p in encoder.parameters() if not p.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(frozen, now, strict=True))


@everywhere
def test_tasks_in_one_batch_equal_one_by_one(family, config):
    encoder, method = attached(family, config)
    disturb(encoder, method)
    # float64: disturbed generators amplify rounding
    encoder.eval().double()
    method.double()
    x = images(family).double()
    order = (2, 0, 1)
    with torch.no_grad():
        together = run(encoder, method, x, order)
        apart = [run(encoder, method, x, (task,)) for task in order]
    for scale, joint in enumerate(together):
        assert_same(joint, torch.cat([maps[scale] for maps in apart]), tolerance=1e-11)
    if not method.shares_encoder:
        assert not torch.equal(apart[0][-1], apart[1][-1]), "the tasks' paths are the same"


@everywhere
def test_merge(family, config):
    encoder, method = attached(family, config)
    disturb(encoder, method)
    encoder.eval()
    if not method.mergeable:
        with pytest.raises(ValueError, match="cannot be merged"):
            method.merge(encoder, 1)
        return
    x = images(family)
    merged = method.merge(encoder, 1).eval()
    with torch.no_grad():
        expected = run(encoder, method, x, (1,))
        if config["type"] != "DecodersOnly":
            plain = small_encoder(family).eval()(x)[-1]
            assert (expected[-1] - plain).abs().max() > 1e-3 * plain.abs().max(), "the plain encoder would pass"
        encoder.model = merged
        for ours, theirs in zip(encoder(x), expected, strict=True):
            assert_same(ours, theirs)


# tracing takes seconds: every method and option on the family that is the quickest of those that have it, and on
# every family what goes into attention and what stands beside the MLP
EVERYWHERE = ("LoRA", "Adapter")


def traced_on(config: dict) -> list[str]:
    quickest_first = sorted(SMALL_ENCODERS, key=lambda family: family not in ("vit", "convnext"))
    families = [family for family in quickest_first if supports(family, config)]
    return families if config is DEFAULTS[config["type"]] and config["type"] in EVERYWHERE else families[:1]


GRAPHS = [
    pytest.param(family, config, id=f"{label(config)}-{family}") for config in CONFIGS for family in traced_on(config)
]


@pytest.mark.parametrize(("family", "config"), GRAPHS)
def test_one_graph(family, config):
    encoder, method = attached(family, config)
    disturb(encoder, method)
    encoder.eval()
    x = images(family)
    torch._dynamo.reset()
    graphs = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(encoder, fullgraph=True, backend=graphs)
    with torch.no_grad():
        for task in range(len(TASKS)):
            expected = run(encoder, method, x, (task,))
            for ours, theirs in zip(compiled(x), expected, strict=True):
                assert_same(ours, theirs)
    if config["type"] != "SingleTaskFull":  # T encoders are T graphs
        assert graphs.frame_count == 1


@everywhere
def test_copies_and_state_round_trip(family, config):
    encoder, method = attached(family, config)
    disturb(encoder, method)
    both = torch.nn.ModuleDict({"encoder": encoder, "method": method}).eval()
    x = images(family)
    with torch.no_grad():
        expected = run(encoder, method, x, (1,))
        copied = copy.deepcopy(both)
        other_encoder, other_method = attached(family, config, seed=5)
        torch.nn.ModuleDict({"encoder": other_encoder, "method": other_method}).load_state_dict(both.state_dict())
        for name, (enc, met) in {
            "copy": (copied["encoder"], copied["method"]),
            "loaded": (other_encoder.eval(), other_method),
        }.items():
            for ours, theirs in zip(run(enc, met, x, (1,)), expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0, msg=name)


@everywhere
def test_bf16(family, config):
    encoder, method = attached(family, config)
    disturb(encoder, method, scale=0.01)
    encoder.eval()
    x = images(family)
    with torch.no_grad():
        exact = run(encoder, method, x, (1,))
        with torch.autocast("cpu", torch.bfloat16):
            mixed = run(encoder, method, x, (1,))
        encoder.bfloat16(), method.bfloat16()
        lower = run(encoder, method, x.bfloat16(), (1,))
    for full, ours in [*zip(exact, mixed, strict=True), *zip(exact, lower, strict=True)]:
        # 8 bits of mantissa through a dozen layers
        assert (full - ours.float()).norm() <= 0.05 * full.norm()


@everywhere
def test_stacked_parameters_belong_to_their_task(family, config):
    """The gradient of task 1 lies in slice 1 of what is declared to be stacked by task, and nowhere else."""
    encoder, method = attached(family, config)
    names = method.task_parameters(encoder)
    trained = {f"encoder.{n}": p for n, p in encoder.named_parameters() if p.requires_grad}
    trained |= {f"method.{n}": p for n, p in method.named_parameters()}
    assert names <= set(trained)
    plain, copies = small_encoder(family), method.copies
    own = sum(p.numel() for n, p in trained.items() if n in names or (copies and n.startswith(copies)))
    assert own == 3 * (method.count(plain, 3) - method.count(plain, 2))
    if config["type"] in ("SingleTaskFull", "MultiTaskFull", "DecodersOnly"):
        assert not names
        return
    disturb(encoder, method)
    encoder.eval()
    generator = torch.Generator().manual_seed(3)
    sum(
        (m * torch.randn(m.shape, generator=generator)).sum() for m in run(encoder, method, images(family), (1,))
    ).backward()
    for name in names:
        gradient = trained[name].grad
        assert gradient is not None, name
        assert len(gradient) == len(TASKS), name
        assert gradient[1].abs().max() > 0, name
        assert gradient[0].abs().max() == gradient[2].abs().max() == 0, name


@pytest.mark.parametrize(
    ("config", "family"), [({"type": name}, family) for name, fs in UNSUPPORTED.items() for family in sorted(fs)]
)
def test_unsupported_encoders_are_refused(config, family):
    with pytest.raises(ValueError, match="this encoder") as error:
        attached(family, config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("first", ["LoRA", "SSF", "DoRA"])
def test_dora_on_a_changed_weight_is_refused(first):
    with pytest.raises(ValueError, match="DoRA must come before it"):
        attached("swin", {"type": "Composite", "methods": [{"type": first}, {"type": "DoRA"}]})
