"""LoRA of rank 4 on queries and values.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 70.12 / 57.73 / 61.90 mIoU, 18.96 mErr, Δm -2.17.
"""

method = dict(type="LoRA", rank=4, scale=4.0)
