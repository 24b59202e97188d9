"""PHM adapter, λ = 16, p = 2.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 68.55 / 56.28 / 60.35 mIoU, 19.23 mErr, Δm -4.34.
"""

method = dict(type="PHMAdapter", reduction=16, p=2)
