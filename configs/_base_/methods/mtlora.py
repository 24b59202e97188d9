"""MTLoRA of rank 64, and 4 for each task.

Table 1 of its paper (PASCAL-Context, Swin-T, HRNet decoders, 8.34 M trained in all): Δm +2.55.
"""

method = dict(type="MTLoRA", rank=64, task_rank=4, scale=4.0)
