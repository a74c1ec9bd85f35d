"""Tests of event tables of others: each kind against a brute-force reading of all its rows."""
