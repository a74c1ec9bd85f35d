"""TODO timeline_workers/process."""
