"""TODO workflows/client."""
