"""Tests of timelines and the columns they are held in."""
