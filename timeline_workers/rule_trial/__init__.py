"""Trials of alert rules: events in, messages expected, on a virtual clock and with no server."""
