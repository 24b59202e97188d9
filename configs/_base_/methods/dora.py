"""DoRA of rank 4 on queries and values."""

method = dict(type="DoRA", rank=4, scale=4.0)
