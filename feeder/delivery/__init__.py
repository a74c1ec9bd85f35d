"""TODO feeder/delivery."""
