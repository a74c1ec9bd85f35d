"""Columns: values, rows grouped by key, key tables, and batches of events. Knows no expressions."""
