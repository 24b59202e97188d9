"""PVT-Small (v1), https://arxiv.org/abs/2102.12122, the authors' ImageNet-1k weights, 512 x 512."""

encoder = dict(type="TimmEncoder", name="pvt_small", size=(512, 512), weights=True)
