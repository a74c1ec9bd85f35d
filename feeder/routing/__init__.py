"""TODO feeder/routing."""
