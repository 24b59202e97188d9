"""Training and testing: hooks, checkpoints, processes, config."""

from mtl.engine import checkpoints, cost, distributed, hooks, label_table, optim  # noqa: F401
