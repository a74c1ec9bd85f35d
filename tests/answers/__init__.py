"""Tests of questions to timelines."""
