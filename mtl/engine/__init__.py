"""Training and testing: hooks, checkpoints, processes, config."""

from mtl.engine import checkpoints, distributed, hooks, optim  # noqa: F401
