"""Compacter++, λ = 2, p = 2.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 67.26 / 55.69 / 59.47 mIoU, 19.54 mErr, Δm -5.84.
The tables of Swin-B and PVT have λ = 16.
"""

method = dict(type="Compacter", reduction=2, p=2, sites="mlp")
