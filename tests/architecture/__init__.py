"""Tests of the layers, the types that users see, and conventions of the code."""
