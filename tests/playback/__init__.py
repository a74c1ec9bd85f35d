"""Tests of the player: its messages, its cases on a virtual clock, and its rules."""
