"""How prompts pass from module to module beside the tokens.

An encoder's modules hand on tokens alone, in numbers that the encoder counts on (it cuts feature maps out of them), so
prompts join the tokens inside of a layer only and travel beside them in between.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.encoders.wrappers import inside
from mtl.methods.base import Adapter, TaskContext


class Stream:
    """What one adapter leaves for a later one in the same forward pass; empty outside of it.

    A plain object, shared by the adapters of an encoder: it is no part of the model's state. The first adapter writes
    without reading, so that a pass that broke off leaves nothing behind for the next.

    Attributes:
        carried: what leaves a layer, the prompts ``(A*B, p, C)``; for the next layer.
        waiting: a layer's normed prompts ``(A, B, p, C)``, for its attention.
        attended: what its attention makes of them, ``(A'*B, p, C)`` each; for the layer.
    """

    def __init__(self) -> None:
        self.carried: Tensor | None = None
        self.waiting: Tensor | None = None
        self.attended: list[Tensor] = []

    def __deepcopy__(self, memo: dict) -> Stream:
        # tensors belong to a graph, which cannot be copied
        copied = memo[id(self)] = Stream()
        return copied

    def take(self) -> Tensor:
        """The carried tensor, which is gone then."""
        assert self.carried is not None, "no earlier layer left anything: the encoder runs its layers in another order"
        taken, self.carried = self.carried, None
        return taken

    def next_tasks(self, tasks: int) -> Tensor:
        """The waiting prompts of the next ``tasks`` of the active ones, ``(tasks*B, p, C)``.

        An adapter around the attention may pass the tasks through it one after the other.
        """
        assert self.waiting is not None, "the layer did not announce its prompts"
        taken, self.waiting = self.waiting[:tasks], self.waiting[tasks:]
        return taken.flatten(0, 1)


class Prompted(Adapter):
    """A layer with prompts: its own, or those that the layer before it left.

    Args:
        stream: of the encoder.
        key: of its own prompts ``(T, p or 1, C)`` in the context's generated tensors; None where they are carried.
        prompts: p; one vector stands for all of them if they share it.
        carries: whether the next layer goes on with what becomes of the prompts.
        prefix: further tokens before the patches' (the class token).
        dropout: of its own prompts.
    """

    def __init__(
        self,
        context: TaskContext,
        stream: Stream,
        key: str | None,
        prompts: int,
        carries: bool,
        prefix: int,
        dropout: float,
    ) -> None:
        super().__init__(context)
        self.stream = stream
        self.key = key
        self.prompts = prompts
        self.carries = carries
        self.prefix = prefix
        self.dropout = dropout

    def extra_repr(self) -> str:
        return f"{self.prompts} prompts, {'carried' if self.key is None else 'generated'}"

    def entering(self, x: Tensor) -> Tensor:
        """The prompts that enter with the tokens ``x``, ``(A*B, ..., C)`` to ``(A*B, p, C)``."""
        if self.key is None:
            return self.stream.take()
        own = self.context.pick_generated(self.key).to(x.dtype)
        return repeated(own, x.shape[0], self.prompts, self.dropout, self.training)


class PromptedAround(Prompted):
    """A layer whose tokens go their way through its forward, and whose prompts go beside them; they meet in attention.

    With drop-path, which a frozen encoder has not, prompts are dropped apart from the tokens.
    """

    def forward(self, base: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        prompts, block = self.entering(x), inside(base)
        self.stream.waiting = self.context.split(block.norm1(prompts))
        self.stream.attended = []
        y = base(x, *args, **kwargs)
        if self.carries:
            prompts = prompts + block.drop_path1(torch.cat(self.stream.attended))
            self.stream.carried = prompts + block.drop_path2(self.mlp(block.mlp, block.norm2(prompts)))
        self.stream.waiting, self.stream.attended = None, []
        return y

    def mlp(self, mlp: nn.Module, prompts: Tensor) -> Tensor:
        """``(A*B, p, C)`` to the same shape."""
        return mlp(prompts)


class PromptedAttention(Adapter):
    """An attention in which a layer's waiting prompts are keys and values, and queries if what they become is carried.

    It stands inside of all other adapters of the attention, which see the tokens alone.

    Args:
        stream: of the encoder.
        carries: whether the next layer goes on with what becomes of the prompts.
        key: of keys and values ``(T, p or 1, 2C)`` in the context's generated tensors, which take the place of the
            waiting prompts' (the prefix form).
        prompts: p of these keys.
        dropout: of these keys and values.
    """

    def __init__(
        self,
        context: TaskContext,
        stream: Stream,
        carries: bool,
        key: str | None = None,
        prompts: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(context)
        self.stream = stream
        self.carries = carries
        self.key = key
        self.prompts = prompts
        self.dropout = dropout

    def extra_repr(self) -> str:
        return "prompts are keys, values and queries" if self.carries else "prompts are keys and values"

    def waiting(self) -> Tensor:
        """``(A*B, p, C)``."""
        return self.stream.next_tasks(self.context.index.shape[0])

    def prefix(self, rows: int, like: Tensor) -> Tensor:
        """Keys and values of the prefix form for a task-major batch of ``rows``, ``(rows, p, 2C)``."""
        assert self.key is not None
        own = self.context.pick_generated(self.key).to(like.dtype)
        return repeated(own, rows, self.prompts, self.dropout, self.training)


class Passed(Adapter):
    """A module between layers that takes the carried prompts as it takes tokens (a norm)."""

    def __init__(self, context: TaskContext, stream: Stream) -> None:
        super().__init__(context)
        self.stream = stream

    def forward(self, base: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.stream.carried = self.through(base, self.stream.take())
        return base(x, *args, **kwargs)

    def through(self, base: nn.Module, prompts: Tensor) -> Tensor:
        """``(A*B, p, C)`` to ``(A*B, p, C')``."""
        return base(prompts)


def repeated(prompts: Tensor, rows: int, p: int, dropout: float, training: bool) -> Tensor:
    """Each task's prompts ``(A, p or 1, C)`` for a task-major batch, ``(rows, p, C)``."""
    prompts = prompts.unsqueeze(1).expand(-1, rows // prompts.shape[0], p, -1).flatten(0, 1)
    return F.dropout(prompts, dropout, training)


def dropout_rate(attention: Any) -> float:
    """Of the attention's weights, now; 0 where it has none."""
    rate = getattr(getattr(attention, "attn_drop", None), "p", 0.0)
    return rate if attention.training else 0.0
