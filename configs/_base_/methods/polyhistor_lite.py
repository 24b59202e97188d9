"""Polyhistor-Lite, λ = 2.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 70.24 / 59.12 / 64.75 mIoU, 17.40 mErr, Δm +1.74.
"""

method = dict(type="PolyhistorLite", reduction=2)
