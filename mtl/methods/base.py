"""What a method is: how it attaches to an encoder, which tasks share a pass, what it generates, how it merges.

A method replaces the module at a site by `Adapted(base, adapter)`. Parameters of all tasks are stacked on a first axis
T and picked by the index tensor of the active tasks, so that one compiled graph serves every task and several tasks
may also run as one task-major batch ``(A*B, ...)``, A of the T tasks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mtl.encoders.timm_encoder import TimmEncoder

ROLES = (
    *("decoders.", "encoder.", ".adapter", ".adapter.shared", "method."),
    *("method.hypernetwork", "method.kernels", "method.layers", "method.projection", "method.tasks"),
)
"""Parts of the names of a model's parameters that a config may set a rate for, whichever of them its method has."""


class TaskContext:
    """Which tasks the encoder is running for; shared by a method and its adapters.

    A plain object: it is no part of the model's state. `index` is what adapters read in a forward pass (a tensor, so
    that changing it does not recompile a graph); `generated` holds a hypernetwork's output, each ``(T, ...)``.
    """

    def __init__(self) -> None:
        self.tasks: tuple[int, ...] = (0,)
        self.index = torch.zeros(1, dtype=torch.long)
        self.generated: dict[str, Tensor] = {}

    def __deepcopy__(self, memo: dict) -> TaskContext:
        # generated tensors belong to a graph, which cannot be copied; the next forward pass makes them anew
        copied = memo[id(self)] = TaskContext()
        copied.activate(self.tasks, self.index.device)
        return copied

    def activate(self, tasks: Sequence[int], device: torch.device) -> None:
        self.tasks = tuple(tasks)
        self.index = torch.tensor(self.tasks, dtype=torch.long, device=device)

    def split(self, x: Tensor) -> Tensor:
        """A task-major batch ``(A*B, ...)`` to ``(A, B, ...)``."""
        return x.unflatten(0, (self.index.shape[0], -1))

    @property
    def num_streams(self) -> int:
        """1 + A: what the tasks share, and each active task's own (`mtl.methods.branch`)."""
        return 1 + self.index.shape[0]

    def streams(self, x: Tensor) -> Tensor:
        """A batch of streams ``((1+A)*B, ...)`` to ``(1+A, B, ...)``, the shared one first."""
        return x.unflatten(0, (self.num_streams, -1))

    @contextmanager
    def only(self, position: int) -> Iterator[None]:
        """The active task at ``position`` alone for the adapters, for what cannot run for several tasks at once."""
        index = self.index
        self.index = index[position : position + 1]
        yield
        self.index = index

    def pick(self, stacked: Tensor) -> Tensor:
        """``(T, ...)`` to ``(A, ...)``, the active tasks' slices."""
        return stacked[self.index]

    def pick_generated(self, key: str) -> Tensor:
        """What was generated as ``key``, ``(A, ...)``."""
        return self.pick(self.generated[key])


class Adapter(nn.Module):
    """What stands beside a base module; `pre` and `post` are the identity unless overridden.

    An adapter that changes how the base module computes (a table of its own for one task) overrides `forward`.

    Class attributes:
        per_task: names of its parameters whose first axis is the tasks'.
    """

    is_adapter = True
    per_task: tuple[str, ...] = ()

    def __init__(self, context: TaskContext) -> None:
        super().__init__()
        self.context = context

    def pre(self, x: Tensor) -> Tensor:
        """``(A*B, ..., C)`` before the base module; Swin's windows are ``(A*B*windows, N, C)``, task-major too."""
        return x

    def post(self, x: Tensor, y: Tensor) -> Tensor:
        """The base module's input ``x`` and output ``y``, ``(A*B, ..., C)``, to what the encoder goes on with."""
        return y

    def forward(self, base: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The base module adapted; what follows the tokens (a mask, a feature size) is its own business."""
        return self.post(x, base(self.pre(x), *args, **kwargs))

    def merged(self, base: nn.Module, task: int) -> nn.Module:
        """``base``, a copy that may be changed, with the parameters of ``task`` folded in; for mergeable methods."""
        raise NotImplementedError


class Adapted(nn.Module):
    """A base module of the encoder with its adapter."""

    is_wrapper = True

    def __init__(self, base: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.adapter(self.base, x, *args, **kwargs)


class Method(nn.Module):
    """A way to adapt a frozen encoder. Its module docstring has paper, equation, sites, count and departures.

    Class attributes:
        shares_encoder: nothing task-specific is attached, one encoder pass serves all tasks.
        branches: tasks have maps of their own that branch off one stream (`mtl.methods.branch`), so that all of them
            run as one batch.
        exact_start: the encoder's output is unchanged right after attaching.
        mergeable: `merge` returns a plain encoder that computes the same; final once attached.
        per_task: names, with shell wildcards, of the method's own parameters whose first axis is the tasks'.
        copies: prefix of the model's parameter names that go on with a task's number, where tasks have modules of
            their own.
    """

    shares_encoder: bool = False
    branches: bool = False
    exact_start: bool = True
    mergeable: bool = False
    per_task: ClassVar[tuple[str, ...]] = ()
    copies: str = ""

    def __init__(self) -> None:
        super().__init__()
        self.context = TaskContext()
        self.attached: list[tuple[str, str]] = []

    def prepare(self, encoder: TimmEncoder) -> None:
        """Rewrite base layers before anything is attached (PELA); most methods do nothing here."""

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        """Place the adapters in ``encoder`` for ``tasks``; `ValueError` where the encoder lacks the sites."""
        raise NotImplementedError

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        """Trained parameters in encoder and method, by the formula of the docstring; ``encoder`` without adapters."""
        raise NotImplementedError

    def paths(self, tasks: Sequence[str]) -> list[list[str]]:
        """Groups of tasks that share one encoder pass."""
        return [list(tasks)] if self.shares_encoder else [[task] for task in tasks]

    def generate(self) -> dict[str, Tensor]:
        """The adapters' generated weights, each ``(T, ...)``; empty for methods without a hypernetwork."""
        return {}

    def merge(self, encoder: TimmEncoder, task: int) -> nn.Module:
        """A plain timm model with the parameters of ``task`` folded in; `ValueError` where that is not exact."""
        if not self.mergeable:
            raise ValueError(f"{type(self).__name__} cannot be merged into plain weights: {self.why_not_mergeable}")
        return _merged(copy.deepcopy(encoder.model), task)

    why_not_mergeable: str = "its adapters are not linear"

    def hooks(self) -> list[dict]:
        """Configs of MMEngine hooks that the method needs while training (a schedule of its own)."""
        return []

    def stacked(self) -> set[str]:
        """Names of the method's own parameters whose first axis is the tasks'."""
        return {name for name, _ in self.named_parameters() if any(fnmatchcase(name, p) for p in self.per_task)}

    def task_parameters(self, encoder: TimmEncoder) -> set[str]:
        """Names of the parameters whose first axis is the tasks', as in a model of ``encoder`` and ``method``."""
        names = {f"method.{name}" for name in self.stacked()}
        for path, module in encoder.named_modules():
            if isinstance(module, Adapter):
                names |= {f"encoder.{path}.{name}" for name in module.per_task}
        return names

    def replace(self, encoder: TimmEncoder, path: str, adapter: Adapter) -> None:
        """Put `Adapted` in the place of the module at ``path`` and remember it for the log's table."""
        parent, _, name = path.rpartition(".")
        owner = encoder.model.get_submodule(parent)
        setattr(owner, name, Adapted(getattr(owner, name), adapter))
        self.attached.append((path, type(adapter).__name__))


def _merged(module: nn.Module, task: int) -> nn.Module:
    """The module, which is changed, without wrappers; inner ones first, as an outer one folds into what they leave."""
    for name, child in list(module.named_children()):
        setattr(module, name, _merged(child, task))
    return module.adapter.merged(module.base, task) if isinstance(module, Adapted) else module
