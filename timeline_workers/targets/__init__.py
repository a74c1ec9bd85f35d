"""Targets of alerts: their files, the secrets that they name, and the senders that reach them."""
