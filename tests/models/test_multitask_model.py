"""The model: staged gradients, partial labels, resolutions."""

from __future__ import annotations

import pytest
import torch
from conftest import SMALL_ENCODERS

from mtl.engine.optim import TaskwiseOptimWrapper
from mtl.registry import MODELS
from mtl.structures import MultiTaskSample

TASKS = {
    "semseg": {"type": "SemanticSegmentation", "classes": 4},
    "saliency": {"type": "Saliency"},
    "normals": {"type": "SurfaceNormals"},
}


def build(method: str, **arguments):
    torch.manual_seed(0)
    encoder = {"type": "TimmEncoder", **SMALL_ENCODERS["swin"], "size": (32, 64)}
    decoder = {"type": "AllMLP", "channels": 16, "dropout": 0.0}
    options = {"rank": 8} if method == "MTLoRA" else {}  # its own is above the narrowest layer's width
    config = {"type": "MultiTaskModel", "encoder": encoder, "method": {"type": method, **options}, "tasks": TASKS}
    model = MODELS.build({**config, "decoder": decoder, **arguments})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("method.") or ".adapter." in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def batch(labels=((0, 1, 2), (0, 2), (1,)), sizes=((32, 64),) * 3):
    """Three images; ``labels`` says which tasks each has a target of."""
    generator = torch.Generator().manual_seed(0)
    inputs, samples = [], []
    for i, (own, (H, W)) in enumerate(zip(labels, sizes, strict=True)):
        sample = MultiTaskSample(metainfo={"name": f"im{i}", "ori_shape": (H, W)})
        targets = (
            torch.randint(0, 4, (H, W), generator=generator).byte(),
            torch.randint(0, 2, (H, W), generator=generator).byte(),
            torch.nn.functional.normalize(torch.randn(H, W, 3, generator=generator), dim=-1),
        )
        for t in own:
            sample.set_target(list(TASKS)[t], targets[t])
        inputs.append(torch.randint(0, 256, (3, H, W), generator=generator).byte())
        samples.append(sample)
    return {"inputs": inputs, "data_samples": samples}


class Collect(TaskwiseOptimWrapper):
    """Keeps the gradients instead of stepping."""

    def finish(self):
        pass


def counted(model):
    """The batch sizes that the encoder is called with, from now on."""
    sizes: list[int] = []
    model.encoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    return sizes


def gradients(model):
    found = {n: p.grad for n, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(
    "method", ["SingleTaskFull", "MultiTaskFull", "DecodersOnly", "Hyperformer", "PolyhistorLite", "MTLoRA"]
)
def test_staged_gradients_equal_one_graph(method, joint):
    """The train step, task by task or as one task-major batch, against plain autograd of the summed losses."""
    model = build(method, joint=joint).double()
    model.train()
    model.encoder.eval()  # no drop-path: the two passes must see the same network
    data = batch(labels=((0, 1, 2),) * 3)
    wrapper = Collect(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    batches = counted(model)
    logged = model.train_step(data, wrapper)
    staged = gradients(model)
    paths = len(model.method.paths(list(TASKS)))
    assert batches == ([3 * paths] if joint or model.method.branches else [3] * paths)

    model.load_state_dict(state)
    model.joint = False
    prepared = model.data_preprocessor(data, True)
    losses = model(prepared["inputs"], prepared["data_samples"], mode="loss")
    sum(losses.values()).backward()
    whole = gradients(model)
    assert staged.keys() == whole.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(staged[name], gradient, rtol=1e-7, atol=1e-10, msg=name)
    assert logged["loss"] == pytest.approx(float(sum(losses.values())), rel=1e-5)
    for name, loss in losses.items():
        assert logged[name] == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("method", ["MultiTaskFull", "PolyhistorLite", "MTLoRA"])
def test_images_without_a_label_are_left_out(method, joint):
    """Partial labels give what each task alone gives on the images that it has."""
    model = build(method, joint=joint).double()
    model.train()
    model.encoder.eval()
    labels = ((0, 1, 2), (0, 2), (1,))
    wrapper = Collect(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    logged = model.train_step(batch(labels), wrapper)
    together = gradients(model)
    total: dict[str, torch.Tensor] = {}
    for t, task in enumerate(TASKS):
        model.load_state_dict(state)
        full = batch(labels)
        rows = [i for i, own in enumerate(labels) if t in own]
        for i in rows:
            for other in set(TASKS) - {task}:
                full["data_samples"][i].pop(f"gt_{other}", None)
        alone = {key: [value[i] for i in rows] for key, value in full.items()}
        assert model.train_step(alone, wrapper)["loss"] == pytest.approx(float(logged[f"{task}.loss"]), rel=1e-5)
        for name, gradient in gradients(model).items():
            total[name] = total.get(name, 0) + gradient
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, total[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("joint", [False, True])
def test_a_process_without_labels_takes_part(joint, monkeypatch):
    """One of two processes has no label of any task: its share is 0, and its parameters get gradients of 0."""
    model = build("PolyhistorLite", joint=joint).train()
    other = torch.tensor([3, 3, 3])  # the labelled images of the other process
    reduced = [lambda counts: counts + other]
    monkeypatch.setattr("mtl.models.multitask._sum", lambda value: reduced.pop()(value) if reduced else value)
    batches = counted(model)
    wrapper = Collect(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1))
    assert model.train_step(batch(labels=((), (), ())), wrapper)["loss"] == 0
    assert batches == []
    found = gradients(model)
    assert {name.split(".")[1] for name in found if name.startswith("decoders.")} == set(TASKS)
    assert not any(gradient.any() for gradient in found.values())


def test_batch_without_any_label_is_no_step():
    model = build("PolyhistorLite").train()
    wrapper = Collect(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1))
    assert model.train_step(batch(labels=((), (), ())), wrapper)["loss"] == 0
    assert not gradients(model)


def test_predictions_have_the_targets_size():
    model = build("PolyhistorLite").eval()
    data = batch(sizes=((32, 64), (30, 50), (17, 40)))
    data["data_samples"][0].set_target("semseg", torch.zeros(100, 200, dtype=torch.uint8))
    first, second, third = model.test_step(data)
    assert first.prediction("semseg").shape == (100, 200)
    assert first.prediction("normals").shape == (32, 64, 3)
    assert second.prediction("semseg").shape == (30, 50)
    assert third.prediction("saliency").shape == (17, 40)
    bare = batch(labels=((), (), ()))
    bare["data_samples"][1].set_metainfo({"ori_shape": (11, 13)})
    assert model.test_step(bare)[1].prediction("normals").shape == (11, 13, 3)


def test_padding_does_not_move_the_prediction(monkeypatch):
    """An image beside a larger one in the batch: the upper left corner of the batch's logits is its own."""
    model = build("DecodersOnly").eval()
    data = batch(labels=((), (), ()), sizes=((32, 64), (24, 40), (32, 64)))
    # channel k rises with column and row: 4 pixels a step, so that pixel (y, x) shows (y + 0.5) / 4 - 0.5
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(16.0), indexing="ij")
    ramp = torch.stack([rows, columns, rows * 0 - 1])
    monkeypatch.setattr(model, "logits", lambda inputs, tasks: {"normals": ramp.expand(3, -1, -1, -1)})
    shown = model.test_step(data)[1].prediction("normals")
    y, x = torch.meshgrid((torch.arange(24) + 0.5) / 4 - 0.5, (torch.arange(40) + 0.5) / 4 - 0.5, indexing="ij")
    expected = torch.nn.functional.normalize(torch.stack([y, x, y * 0 - 1], dim=-1), dim=-1)
    # the first two pixels lie outside of the first step's centre
    torch.testing.assert_close(shown[2:, 2:], expected[2:, 2:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["SingleTaskFull", "Hyperformer", "PolyhistorLite"])
def test_joint_inference_is_the_same(method):
    model = build(method).eval()
    data = model.data_preprocessor(batch())
    with torch.no_grad():
        apart = model(data["inputs"])
        model.joint = True
        batches = counted(model)
        together = model(data["inputs"])
    assert batches == [9]
    for task in TASKS:
        torch.testing.assert_close(together[task], apart[task], rtol=1e-4, atol=1e-5)


def test_generated_weights_are_kept_until_a_parameter_changes():
    model = build("PolyhistorLite").eval()
    calls = []
    generate = model.method.generate
    model.method.generate = lambda: calls.append(1) or generate()
    data = model.data_preprocessor(batch())
    with torch.no_grad():
        first = model(data["inputs"])["normals"]
        model(data["inputs"])
        assert len(calls) == 1
        model.load_state_dict({k: v * 1.5 if k.startswith("method") else v for k, v in model.state_dict().items()})
        assert not torch.equal(model(data["inputs"])["normals"], first)
    assert len(calls) == 2


def test_print_shows_what_is_attached_where():
    text = str(build("PolyhistorLite"))
    assert "Adapted(" in text
    assert "(adapter): GeneratedBottleneck(parallel, weights generated)" in text
