"""The law in plain Python: two independent brute-force readings of the semantics page."""
