"""Clients of the workflows: starting, asking, examining and repairing workers."""
