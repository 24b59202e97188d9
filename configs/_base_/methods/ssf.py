"""SSF."""

method = dict(type="SSF")
