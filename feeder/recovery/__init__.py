"""TODO feeder/recovery."""
