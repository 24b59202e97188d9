"""The epoch-based training loop, which goes on within an epoch."""

from __future__ import annotations

from itertools import islice

from mmengine.runner import EpochBasedTrainLoop

from mtl.registry import LOOPS


@LOOPS.register_module()
class EpochLoop(EpochBasedTrainLoop):
    """MMEngine's, but an epoch that is resumed half-way skips the batches that were trained.

    They are still loaded. The others are the same as without a break, as each item has random numbers of its own.
    """

    def run_epoch(self) -> None:
        steps = len(self.dataloader)
        done = self._iter - self._epoch * steps
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        if done < steps:
            for idx, batch in islice(enumerate(self.dataloader), done, None):
                self.run_iter(idx, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
