"""Outputs: workflows that hear a node without being one, and what they do with what they hear."""
