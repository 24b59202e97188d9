"""Counting parameters and showing what is attached where."""

from __future__ import annotations

from dataclasses import dataclass

from mtl.models.multitask import MultiTaskModel


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters; trained ones unless said.

    Attributes:
        encoder: in the encoder and the method (the tables' first number).
        decoders: in the decoders.
        base: of the encoder alone, frozen or not, once.
        total: everything that the model holds.
    """

    encoder: int
    decoders: int
    base: int
    total: int

    @property
    def all(self) -> int:
        """The tables' second number."""
        return self.encoder + self.decoders


def count_parameters(model: MultiTaskModel) -> Parameters:
    parameters = dict(model.named_parameters())
    trained = {name: p.numel() for name, p in parameters.items() if p.requires_grad}
    decoders = sum(n for name, n in trained.items() if name.startswith("decoders."))
    return Parameters(
        encoder=sum(trained.values()) - decoders,
        decoders=decoders,
        base=model.encoder.parameter_count,
        total=sum(p.numel() for p in parameters.values()),
    )


def check_formula(model: MultiTaskModel) -> None:
    """Raise `ValueError` unless as much trains as the method's formula says, of all tasks and of each.

    What belongs to a task is stacked, or one of its copies. What is not declared so would stay with every task when
    adapter files are taken apart.
    """
    method, tasks = type(model.method).__name__, len(model.task_names)
    trains = count_parameters(model).encoder
    if trains != model.expected_count:
        raise ValueError(f"{method} trains {trains:,} encoder parameters, its count says {model.expected_count:,}")
    stacked, copies = model.method.task_parameters(model.encoder), model.method.copies
    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    own = sum(p.numel() for name, p in parameters if name in stacked or (copies and name.startswith(copies)))
    if own != tasks * model.expected_of_a_task:
        raise ValueError(
            f"{method}'s count grows by {model.expected_of_a_task:,} with a task, but {own / tasks:,.0f} parameters of "
            "a task are declared: per_task of an adapter or method names what is stacked by task"
        )


def attachment_table(model: MultiTaskModel) -> str:
    """A table of the sites that the method took and of trained parameters, for the log."""
    counts = count_parameters(model)
    lines = [f"{type(model.method).__name__} on {model.encoder.name}"]
    width = max((len(path) for path, _ in model.method.attached), default=0)
    lines += [f"  {path or '(whole encoder)':<{max(width, 15)}}  {what}" for path, what in model.method.attached]
    if not model.method.attached:
        lines.append("  nothing is attached to the encoder")
    share = 100 * counts.encoder / counts.base
    lines += [
        f"  trained in the encoder  {counts.encoder:>13,}  {share:.2f} % of the encoder's {counts.base:,}",
        f"  trained in decoders     {counts.decoders:>13,}",
        f"  trained in all          {counts.all:>13,}  of {counts.total:,}",
    ]
    return "\n".join(lines)
