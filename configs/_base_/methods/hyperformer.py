"""Hyperformer, λ = 8, after attention and MLP.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 71.43 / 60.73 / 65.54 mIoU, 17.77 mErr, Δm +2.64.
The tables of Swin-B and PVT have λ = 16 and ``sites="mlp"``.
"""

method = dict(type="Hyperformer", reduction=8)
