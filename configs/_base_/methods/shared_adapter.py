"""Shared adapter, λ = 2.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 70.21 / 59.15 / 62.29 mIoU, 19.26 mErr, Δm -1.83.
"""

method = dict(type="SharedAdapter", reduction=2)
