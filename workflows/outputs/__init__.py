"""Outputs: workflows that hear a node and are none, and what they do with what they hear."""
