"""TODO timeline_workers/algebra/nodes."""
