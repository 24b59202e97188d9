"""AdaptFormer, bottleneck 64."""

method = dict(type="AdaptFormer", bottleneck=64)
