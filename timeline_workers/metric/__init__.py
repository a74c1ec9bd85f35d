"""TODO timeline_workers/metric."""
