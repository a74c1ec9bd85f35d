"""Benchmarks: measurements that decided something, and targets that must stay met."""
