"""An optimizer step that closes several backward passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mtl.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class TaskwiseOptimWrapper(OptimWrapper):
    """MMEngine's wrapper for a train step with a backward pass per task.

    `backward` only adds gradients; `finish` ends the iteration: gradients are summed over processes (each process's
    losses are its share of the global batch's), clipped, applied and cleared.

    Args:
        optimizer: built by MMEngine's constructor from the parameters that require a gradient.
        amp: bfloat16 autocast on a GPU; a CPU always computes in float32.
        accumulative_counts: iterations whose gradients make one step.
        clip_grad: arguments of ``torch.nn.utils.clip_grad_norm_``.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        amp: bool = True,
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad)
        self.amp = amp

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.amp and device == "cuda"):
            yield

    def backward(self, loss: Tensor, **kwargs) -> None:
        self.scale_loss(loss).backward(**kwargs)

    def finish(self) -> None:
        self._inner_count += 1
        if self.should_update():
            self._sum_gradients()
            self.step()
            self.zero_grad()

    def state_dict(self) -> dict:
        """MMEngine's, and the gradients that wait for their step."""
        waiting = self._inner_count % self._accumulative_counts
        gradients = [None if p.grad is None else p.grad.clone() for p in self._parameters()] if waiting else []
        return {**super().state_dict(), "gradients": gradients}

    def load_state_dict(self, state_dict: dict) -> None:
        state = dict(state_dict)
        gradients = state.pop("gradients")
        super().load_state_dict(state)
        for parameter, gradient in zip(self._parameters(), gradients, strict=False):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _sum_gradients(self) -> None:
        """One flat sum of all gradients; a parameter without one here may have one elsewhere."""
        if not is_distributed():
            return
        parameters = self._parameters()
        present = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([present, *(g.flatten() for g in gradients)])
        all_reduce(flat)
        counts, flat = flat[: len(parameters)], flat[len(parameters) :]
        start = 0
        for parameter, count in zip(parameters, counts.tolist(), strict=True):
            if count:
                parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
