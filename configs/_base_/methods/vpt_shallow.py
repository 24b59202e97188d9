"""VPT-shallow, 50 prompts.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 62.96 / 52.27 / 58.31 mIoU, 20.90 mErr, Δm -11.18.
"""

method = dict(type="VPT", deep=False, prompts=50)
