"""VPT-deep, 50 prompts a layer.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 64.35 / 52.54 / 58.15 mIoU, 21.07 mErr, Δm -10.85.
"""

method = dict(type="VPT", deep=True, prompts=50)
