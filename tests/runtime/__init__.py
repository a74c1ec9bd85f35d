"""Tests of workers without their durability."""
