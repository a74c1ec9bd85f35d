"""TODO timeline_workers/algebra/timeline."""
