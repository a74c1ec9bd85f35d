"""TODO workflows/catalog."""
