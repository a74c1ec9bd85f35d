"""Tests of networks of streams."""
