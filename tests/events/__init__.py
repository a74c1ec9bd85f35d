"""Tests of decoding and checking events."""
