"""Decoders only.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 63.14 / 52.37 / 58.39 mIoU, 20.89 mErr, Δm -11.02.
"""

method = dict(type="DecodersOnly")
