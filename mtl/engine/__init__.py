"""Training and testing: hooks, checkpoints, processes, config."""

from mtl.engine import checkpoint_hook, cost, distributed, hooks, label_table, loops, optim  # noqa: F401
