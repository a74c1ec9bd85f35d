"""Sinks: the workflows that send what rules of alerts say, each to one target."""
