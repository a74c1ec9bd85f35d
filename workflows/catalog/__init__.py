"""The catalog: the workflow that registers metrics and sources, its client, and the driver."""
