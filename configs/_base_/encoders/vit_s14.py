"""ViT-S/14 of DINOv2, https://arxiv.org/abs/2304.07193, weights from timm's hub, 518 x 518."""

encoder = dict(type="TimmEncoder", name="vit_small_patch14_dinov2", size=(518, 518), weights=True)
