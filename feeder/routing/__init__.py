"""Routing: which leaf is sent what of a batch, and the watermarks of source partitions. No I/O."""
