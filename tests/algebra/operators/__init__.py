"""Tests of operators, one file each, over events with explicit timestamps."""
