"""Delivery of routed events to the leaf workers, with retries, and of refused events to dead letters."""
