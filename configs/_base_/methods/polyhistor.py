"""Polyhistor, λ = 16, r = n / 4.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 70.87 / 59.54 / 65.47 mIoU, 17.47 mErr, Δm +2.34.
"""

method = dict(type="Polyhistor", reduction=16, rank_divisor=4)
