"""TODO feeder/source."""
