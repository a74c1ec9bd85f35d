"""Temporal: connections, payload encryption and its codec server, and what a server's refusals mean."""
