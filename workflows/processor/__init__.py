"""TODO workflows/processor."""
