"""MTLoRA of rank 32, and 4 for each task.

With ``method.rank=64``, which layers of less than 64 do not take, it is table 1 of its paper (PASCAL-Context, Swin-T,
HRNet decoders, 8.34 M trained in all): Δm +2.55.
"""

method = dict(type="MTLoRA", rank=32, task_rank=4, scale=4.0)
