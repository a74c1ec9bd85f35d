"""Tests of the graph of a metric."""
