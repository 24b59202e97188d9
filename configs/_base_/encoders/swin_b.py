"""Swin-B, https://arxiv.org/abs/2103.14030, ImageNet-1k weights from timm's hub, 512 x 512."""

encoder = dict(type="TimmEncoder", name="swin_base_patch4_window7_224.ms_in1k", size=(512, 512), weights=True)
