"""Recovery: where to resume, replays of the past, gaps, and topics that were recreated or trimmed."""
