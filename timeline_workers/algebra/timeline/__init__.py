"""Timelines of many keys in columns: their canonical form, exact numbers, revisions, and their store."""
