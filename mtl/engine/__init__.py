"""Training and testing: hooks, checkpoints, processes, config."""

from mtl.engine import checkpoints, cost, distributed, hooks, optim  # noqa: F401
