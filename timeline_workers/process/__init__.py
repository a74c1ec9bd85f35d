"""Processes: exit codes, supervision of children, and a guard that stops them with their owner."""
