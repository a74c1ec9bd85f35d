"""TODO timeline_workers/columns."""
