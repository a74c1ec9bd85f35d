"""Tests of the sample producers."""
