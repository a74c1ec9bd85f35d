"""Tests of the room of reconcilers."""
