"""TODO timeline_workers/servers/pulsar."""
