"""Nodes of the expression graph: leaves, derived, fused and aggregate ones, with the rows they hold."""
