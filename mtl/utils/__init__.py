"""What every package may use; it imports nothing of this framework's own."""
