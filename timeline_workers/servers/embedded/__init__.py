"""TODO timeline_workers/servers/embedded."""
