"""Adapter, λ = 2.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 69.21 / 57.38 / 61.28 mIoU, 18.83 mErr, Δm -2.71.
The tables of Swin-B and PVT have λ = 16.
"""

method = dict(type="Adapter", reduction=2)
