"""Low-rank adapter, λ = 16, r = n / 4.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 68.31 / 56.53 / 60.29 mIoU, 19.36 mErr, Δm -4.54.
"""

method = dict(type="LowRankAdapter", reduction=16, rank_divisor=4)
