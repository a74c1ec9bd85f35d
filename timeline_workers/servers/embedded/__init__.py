"""The embedded servers: a Temporal dev server and a Pulsar-protocol broker as child processes."""
