"""Compacter, λ = 2, p = 2.

Table 1 of the Polyhistor paper (PASCAL-Context, Swin-T): 68.08 / 56.41 / 60.08 mIoU, 19.22 mErr, Δm -4.55.
"""

method = dict(type="Compacter", reduction=2, p=2)
