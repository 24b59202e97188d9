"""Adaptation methods, one file each; importing the package registers them."""

from mtl.methods import baselines, hyperformer, polyhistor, polyhistor_lite  # noqa: F401
