"""Results of runs as one HTML page: finding and reading them, tables, plots, pictures."""
