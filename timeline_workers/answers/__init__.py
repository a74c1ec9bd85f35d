"""TODO timeline_workers/answers."""
