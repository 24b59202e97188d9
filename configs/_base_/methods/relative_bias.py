"""Relative position bias (Swin).

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 63.51 / 52.35 / 57.74 mIoU, 21.07 mErr, Δm -11.40.
"""

method = dict(type="RelativeBias")
