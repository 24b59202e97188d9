"""Several methods at once: VPT and biases, LoRA and biases.

Trained: the sum of the methods' counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.registry import METHODS


@METHODS.register_module()
class Composite(Method):
    """Methods attached one after the other; where two take the same site, the later one wraps the earlier.

    Args:
        methods: their configs.
    """

    def __init__(self, methods: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        if not methods:
            raise ValueError("a composite needs at least one method")
        self.methods = nn.ModuleList(METHODS.build(dict(config)) for config in methods)
        for part in self.parts:
            if len(self.parts) > 1 and (part.branches or part.copies):
                what = "runs most of the encoder once for all tasks" if part.branches else "trains an encoder per task"
                raise ValueError(f"{type(part).__name__} {what}; it is no part of a composite")
        # several parts have neither
        self.branches, self.copies = self.parts[0].branches, self.parts[0].copies
        self.shares_encoder = all(part.shares_encoder for part in self.parts)
        self.exact_start = all(part.exact_start for part in self.parts)
        self._ask_mergeable()

    def _ask_mergeable(self) -> None:
        self.mergeable = all(part.mergeable for part in self.parts)
        self.why_not_mergeable = "; ".join(
            f"{type(part).__name__}: {part.why_not_mergeable}" for part in self.parts if not part.mergeable
        )

    @property
    def parts(self) -> list[Method]:
        return list(self.methods)  # type: ignore[arg-type]

    def prepare(self, encoder: TimmEncoder) -> None:
        for part in self.parts:
            part.prepare(encoder)

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        for part in self.parts:
            part.context = self.context
            part.attach(encoder, tasks)
            self.attached += part.attached
        self._ask_mergeable()  # what a method finds in the encoder may change it
        twice = [key for key, n in Counter(key for part in self.parts for key in part.generate()).items() if n > 1]
        if twice:
            raise ValueError(f"two methods of a composite make weights for {twice[0]!r}; give one of them other sites")

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        return sum(part.count(encoder, num_tasks) for part in self.parts)

    def generate(self) -> dict[str, Tensor]:
        return {key: value for part in self.parts for key, value in part.generate().items()}

    def hooks(self) -> list[dict]:
        return [hook for part in self.parts for hook in part.hooks()]

    def stacked(self) -> set[str]:
        return {f"methods.{i}.{name}" for i, part in enumerate(self.parts) for name in part.stacked()}
