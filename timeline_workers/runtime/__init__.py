"""The pure state machine of a durable worker."""
