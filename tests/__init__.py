"""Tests: the oracle, property tests against it, and one folder per part of the system."""
