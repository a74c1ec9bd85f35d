"""TODO timeline_workers/settings."""
