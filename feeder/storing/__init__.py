"""What the feeder reads, written into the history store, beside the feeding (``tee`` says how)."""
