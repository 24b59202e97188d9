"""The multi-task model; importing the package registers it."""

from mtl.models import multitask, preprocessor  # noqa: F401
