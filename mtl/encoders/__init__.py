"""Encoders: timm models, their weights and their sites; importing the package registers them."""

from mtl.encoders import timm_encoder  # noqa: F401
