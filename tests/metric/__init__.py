"""Tests of metric files."""
