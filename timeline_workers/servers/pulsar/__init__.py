"""Pulsar: connections, the backlog of a topic, dead letters, and what a broker's refusals mean."""
