"""Heads from an encoder's feature maps to a task's logits; a new one is one file and one import here."""

from mtl.decoders.all_mlp import AllMLP

__all__ = ["AllMLP"]
