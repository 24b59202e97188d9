"""Several processes: starting them, batch statistics over all of them, and the wrapper MMEngine's runner asks for."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import infer_launcher
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from mtl.registry import MODEL_WRAPPERS, MODELS


def launch(launcher: str | None = None) -> str:
    """The launcher for MMEngine's runner; on a CPU the gloo group is made here, since MMEngine would ask for CUDA."""
    if launcher is None:
        launcher = "pytorch" if "RANK" in os.environ and "WORLD_SIZE" in os.environ else infer_launcher()
    if launcher == "pytorch" and not torch.cuda.is_available() and not dist.is_initialized():
        dist.init_process_group("gloo")
    return launcher


@MODEL_WRAPPERS.register_module()
@MODELS.register_module()
class TaskwiseDistributed(nn.Module):
    """The model in one of several processes.

    torch's DistributedDataParallel reduces gradients in one backward pass and cannot serve a step with several; here
    parameters start equal, batch norms see the global batch, and `TaskwiseOptimWrapper.finish` sums the gradients.
    """

    module: Any  # a MultiTaskModel, whose steps the runner calls

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.data, 0)
        self.module = synchronise_batch_norm(module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.train_step(*args, **kwargs)

    def val_step(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.val_step(*args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.test_step(*args, **kwargs)


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """Batch norms over the global batch: torch's on a GPU, `GlooBatchNorm` on a CPU, where torch has none."""
    if next(module.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for owner in list(module.modules()):
        for name, child in owner.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(owner, name, GlooBatchNorm.of(child))
    return module


class GlooBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics cover all processes' batches, an empty one included."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> GlooBatchNorm:
        new = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        new.load_state_dict(norm.state_dict())
        new.weight, new.bias = norm.weight, norm.bias
        return new.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        total = all_reduce(torch.cat([x.sum((0, 2, 3)), x.new_tensor([float(x[:, 0].numel())])]))
        count = total[-1]
        mean = total[:-1] / count
        shape = (1, -1, 1, 1)
        centred = x - mean.view(shape)
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        return (y * self.weight.view(shape) + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)
