"""TODO workflows/archive."""
