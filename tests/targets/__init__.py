"""Targets of alerts: their files, their secrets, and senders against real receivers."""
