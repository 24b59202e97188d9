"""Synthetic scenes in 3-D: solids, materials, people, objects and the stage they stand on."""
