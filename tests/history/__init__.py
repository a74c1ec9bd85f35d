"""Tests of the history: stores against a brute-force model, and what is computed from stored events."""
