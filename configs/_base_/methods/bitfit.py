"""BitFit.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 68.57 / 55.99 / 60.64 mIoU, 19.42 mErr, Δm -4.60.
"""

method = dict(type="BitFit")
