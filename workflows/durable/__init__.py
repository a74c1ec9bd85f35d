"""TODO workflows/durable."""
