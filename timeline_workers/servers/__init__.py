"""Clients of the servers outside: Temporal, Pulsar, and the embedded ones."""
