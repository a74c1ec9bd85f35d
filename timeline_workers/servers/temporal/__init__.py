"""TODO timeline_workers/servers/temporal."""
