"""What every room may use; nothing here imports another part of `mtl`."""
