"""Tests with the real servers."""
