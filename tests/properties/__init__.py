"""Random expressions over random events, against the oracle."""
