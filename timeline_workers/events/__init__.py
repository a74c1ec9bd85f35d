"""Events: their times, decoding and validation, and the columns they become."""
