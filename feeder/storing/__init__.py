"""Storing what the feeder reads in the history store, beside the feeding (``tee`` says how)."""
