"""Multi-task full fine-tuning: one encoder for all tasks.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 68.71 / 62.13 / 64.18 mIoU, 17.35 mErr, Δm +2.23.
"""

method = dict(type="MultiTaskFull")
