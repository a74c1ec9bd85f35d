"""Columnar timelines, the operators over them, and in-process evaluation. Knows neither Temporal nor
Pulsar."""
