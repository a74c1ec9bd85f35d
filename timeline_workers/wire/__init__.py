"""What travels between processes, as bytes."""
