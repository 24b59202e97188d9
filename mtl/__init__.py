"""Parameter-efficient adaptation of one frozen vision encoder to several dense tasks."""

from mtl.version import __version__

__all__ = ["__version__"]
