"""TODO timeline_workers/servers."""
