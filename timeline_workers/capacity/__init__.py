"""Capacity: what a metric needs at a load, by a closed-form model over measured costs. No I/O."""
