"""One encoder, one method, one decoder per task: losses task by task, predictions at each target's resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mtl.models.barrier import GradientBarrier, backward_through
from mtl.models.preprocessor import MultiTaskPreprocessor
from mtl.registry import DECODERS, ENCODERS, METHODS, MODELS, TASKS
from mtl.structures import MultiTaskSample
from mtl.tasks.base import upsample


@MODELS.register_module()
class MultiTaskModel(BaseModel):
    """Dense prediction of several tasks from one adapted encoder.

    Args:
        encoder: config of an encoder.
        method: config of a method.
        tasks: task name to its config.
        decoder: config of the decoder that every task gets; a task's config may name its own under "decoder".
        joint: train and predict the tasks that have paths of their own as one task-major batch instead of one after
            the other: the same result in fewer and larger operations, with the activations of all paths at once. Every
            path then sees every image that has a label for some task.
        compile: run the encoder through `torch.compile`.
    """

    def __init__(
        self,
        encoder: Mapping,
        method: Mapping,
        tasks: Mapping[str, Mapping],
        decoder: Mapping | None = None,
        joint: bool = False,
        compile: bool = False,
    ) -> None:
        built = ENCODERS.build(dict(encoder))
        super().__init__(MultiTaskPreprocessor(built.mean, built.std, built.divisor))
        if not tasks:
            raise ValueError("a model needs at least one task")
        self.encoder = built
        for name in tasks:
            check_task_name(name)
        self.task_names = list(tasks)
        configs = {name: dict(config) for name, config in tasks.items()}
        heads = {name: config.pop("decoder", decoder or {"type": "AllMLP"}) for name, config in configs.items()}
        self.tasks = {name: TASKS.build(dict(config, name=name)) for name, config in configs.items()}
        self.method = METHODS.build(dict(method))
        self.method.prepare(self.encoder)
        self.expected_count = self.method.count(self.encoder, len(self.tasks))
        self.expected_of_a_task = self.expected_count - self.method.count(self.encoder, len(self.tasks) - 1)
        self.method.attach(self.encoder, self.task_names)
        self.decoders = nn.ModuleDict(
            {
                name: DECODERS.build(
                    dict(
                        heads[name],
                        in_channels=self.encoder.channels,
                        out_channels=task.out_channels,
                        input_norm=heads[name].get("input_norm", self.encoder.normed),
                    )
                )
                for name, task in self.tasks.items()
            }
        )
        self.joint = joint
        if compile:
            self.encoder.compile()
        self._generated: tuple[tuple, dict[str, Tensor]] | None = None

    def init_weights(self) -> None:
        """Nothing: every part initialises itself, and MMEngine must not redraw weights that were loaded."""

    # -- forward -----------------------------------------------------------------------------------------------
    def forward(
        self, inputs: Tensor, data_samples: Sequence[MultiTaskSample] | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | list[MultiTaskSample]:
        """MMEngine's three modes.

        Args:
            inputs: ``(B, 3, H, W)``, normalised.
            data_samples: targets and meta, B of them.
            mode: "tensor", task to logits ``(B, K, H/4, W/4)``; "loss", task to its weighted loss, path by path in
                one graph;
                "predict", the samples with ``pred_<task>``.
        """
        if mode == "tensor":
            return self.logits(inputs, self.task_names)
        assert data_samples is not None
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "loss":
            self.method.context.generated = self.method.generate()
            losses = {}
            for group in self._groups(self.task_names):
                for path, maps in zip(group, self._maps(inputs, group), strict=True):
                    for name in path:
                        rows = self._labelled(data_samples, name)
                        targets = self._targets(name, data_samples, rows, inputs)
                        logits = self.decoders[name]([x[rows] for x in maps])
                        losses[f"{name}.loss"] = self._loss(name, logits, targets)
            return losses
        raise ValueError(f"unknown mode {mode!r}; valid: loss, predict, tensor")

    def features(self, inputs: Tensor, tasks: Sequence[str]) -> list[Tensor]:
        """Encoder maps ``(A*B, C_i, H/s_i, W/s_i)`` for A tasks as one task-major batch."""
        self.method.context.activate([self.task_names.index(task) for task in tasks], inputs.device)
        return self.encoder(inputs.repeat(len(tasks), 1, 1, 1) if len(tasks) > 1 else inputs)

    def _groups(self, tasks: Sequence[str]) -> list[list[list[str]]]:
        """The paths of ``tasks``, those together that run as one batch."""
        paths = self.method.paths(tasks)
        return [paths] if (self.joint or self.method.branches) and paths else [[path] for path in paths]

    def _maps(self, inputs: Tensor, group: Sequence[Sequence[str]]) -> list[tuple[Tensor, ...]]:
        """Each path's maps ``(B, C_i, H/s_i, W/s_i)``, of one encoder pass; ``inputs`` may be no image."""
        paths = [path[0] for path in group]
        maps = self.features(inputs, paths) if len(inputs) else self.encoder.empty_maps(inputs)
        return list(zip(*(x.unflatten(0, (len(paths), len(inputs))).unbind(0) for x in maps), strict=True))

    def logits(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """Task to ``(B, K, H/4, W/4)``, each distinct encoder path run once."""
        self.method.context.generated = self._weights()
        outputs: dict[str, Tensor] = {}
        for group in self._groups(tasks):
            for path, maps in zip(group, self._maps(inputs, group), strict=True):
                outputs.update({task: self.decoders[task](maps) for task in path})
        return outputs

    # -- training ----------------------------------------------------------------------------------------------
    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Forward and backward path by path, then one step; returns the losses of the global batch for the log."""
        with optim_wrapper.optim_context(self):
            data = self.data_preprocessor(data, True)
            losses = self.backward(data["inputs"], data["data_samples"], optim_wrapper)
        optim_wrapper.finish()
        return losses

    def backward(
        self, inputs: Tensor, samples: Sequence[MultiTaskSample], optim_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Gradients of all tasks' losses; one decoder's activations live at a time, and, unless `joint`, one path's.

        Under several processes each one's loss is its share of the global batch's: gradients are to be summed.
        """
        rows = {name: self._labelled(samples, name) for name in self.task_names}
        labelled = _sum(torch.tensor([len(rows[name]) for name in self.task_names], device=inputs.device)).tolist()
        present = [name for name, n in zip(self.task_names, labelled, strict=True) if n]
        losses: dict[str, Tensor] = {}
        generated = self.method.generate()
        weights = GradientBarrier(list(generated.values()))
        self.method.context.generated = dict(zip(generated, weights.leaves, strict=True))
        for group in self._groups(present):
            used = sorted({row for path in group for task in path for row in rows[task]})
            maps = [GradientBarrier(part) for part in self._maps(inputs[used], group)]
            for path, barrier in zip(group, maps, strict=True):
                for task in path:
                    keep = [used.index(row) for row in rows[task]]
                    # decoders synchronise across processes: one that has no label takes part with an empty batch
                    part = barrier.leaves if keep == list(range(len(used))) else [x[keep] for x in barrier.leaves]
                    targets = self._targets(task, samples, rows[task], inputs)
                    loss = self._loss(task, self.decoders[task](part), targets)
                    self._check_finite(loss, task, [samples[row] for row in rows[task]])
                    optim_wrapper.backward(loss)
                    losses[f"{task}.loss"] = loss.detach()
            backward_through(maps)
        backward_through([weights])
        return self._log(losses)

    def _loss(self, task: str, logits: Tensor, targets: Tensor) -> Tensor:
        return self.tasks[task].loss_weight * self.tasks[task].loss(logits, targets, _sum)

    def _labelled(self, samples: Sequence[MultiTaskSample], task: str) -> list[int]:
        return [row for row, sample in enumerate(samples) if sample.target(task) is not None]

    def _targets(self, task: str, samples: Sequence[MultiTaskSample], rows: Sequence[int], inputs: Tensor) -> Tensor:
        """The labelled rows' targets, padded with void to the batch's size, ``(B', H, W[, 3])``."""
        H, W = inputs.shape[-2:]
        void = torch.from_numpy(self.tasks[task].kind.void(H, W)).to(inputs.device)
        batch = void.repeat(len(rows), *[1] * void.dim())
        for target, row in zip(batch, rows, strict=True):
            own = samples[row].target(task)
            assert own is not None
            if own.shape[0] > H or own.shape[1] > W:
                raise ValueError(f"{samples[row].name}: the {task} target {tuple(own.shape)} is larger than the image")
            target[: own.shape[0], : own.shape[1]] = own
        return batch

    def _check_finite(self, loss: Tensor, task: str, samples: Sequence[MultiTaskSample]) -> None:
        if not torch.isfinite(loss):
            names = ", ".join(str(sample.get("name")) for sample in samples)
            raise FloatingPointError(f"the loss of task {task!r} is {loss.item()} on the images {names}")

    @staticmethod
    def _log(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The global batch's losses and their sum."""
        if not losses:
            MMLogger.get_current_instance().warning("a batch without a label for any task was skipped")
            return {"loss": torch.zeros(())}
        values = _sum(torch.stack(list(losses.values())).float())
        return {"loss": values.sum(), **dict(zip(losses, values, strict=True))}

    # -- prediction --------------------------------------------------------------------------------------------
    @torch.no_grad()
    def predict(
        self, inputs: Tensor, samples: Sequence[MultiTaskSample], tasks: Sequence[str] | None = None
    ) -> list[MultiTaskSample]:
        """Fill in ``pred_<task>`` at the target's size, or the original image's where there is no target.

        Only ``tasks`` are run; the default is the tasks that the batch has targets of, or all where it has none.
        """
        if tasks is None:
            labelled = [t for t in self.task_names if any(sample.target(t) is not None for sample in samples)]
            tasks = labelled or self.task_names
        for task, logits in self.logits(inputs, tasks).items():
            for row, sample in enumerate(samples):
                target = sample.target(task)
                size = sample.ori_shape if target is None else target.shape[:2]
                if not torch.isfinite(logits[row]).all():
                    raise FloatingPointError(f"the prediction of task {task!r} is not finite on {sample.get('name')}")
                own = self._crop(logits[row : row + 1], inputs.shape[-2:], sample.img_shape)
                sample.set_prediction(task, self.tasks[task].predict(own, (int(size[0]), int(size[1])))[0])
        return list(samples)

    @staticmethod
    def _crop(logits: Tensor, batch_size: Sequence[int], image_size: Sequence[int]) -> Tensor:
        """The part of the logits that is image, where the batch was padded."""
        if tuple(image_size) == tuple(batch_size):
            return logits
        return upsample(logits, batch_size)[..., : image_size[0], : image_size[1]]

    def _weights(self) -> dict[str, Tensor]:
        """Generated weights; without gradients they are kept until a parameter of the method changes."""
        if torch.is_grad_enabled():
            return self.method.generate()
        state = tuple((p.data_ptr(), p._version) for p in self.method.parameters())
        if self._generated is None or self._generated[0] != state:
            self._generated = (state, self.method.generate())
        return self._generated[1]


def check_task_name(name: object) -> None:
    """Raise `ValueError` unless ``name`` can be a key, a folder and an attribute."""
    if not isinstance(name, str) or not name.isidentifier() or hasattr(nn.ModuleDict, name) or name == "training":
        raise ValueError(f"a task's name is a Python name that no module attribute has, such as 'semseg', not {name!r}")


def _sum(value: Tensor) -> Tensor:
    """Sum over processes; the value itself in one."""
    if not is_distributed():
        return value
    value = value.detach().clone()
    all_reduce(value)
    return value
