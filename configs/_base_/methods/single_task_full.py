"""Single-task full fine-tuning: an encoder per task.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 67.21 / 61.93 / 62.35 mIoU, 17.97 mErr, Δm +0.00.
"""

method = dict(type="SingleTaskFull")
