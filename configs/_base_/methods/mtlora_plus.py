"""MTLoRA+: low-rank changes of Swin's patch merging too, whose own weights stay frozen."""

method = dict(type="MTLoRA", rank=32, task_rank=4, scale=4.0, merging=True)
