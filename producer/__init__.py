"""Sample producers: event generators (pure, seeded) and sending them to a Pulsar topic or to standard output.

``generate_playback`` the single-event sample and realistic playback sessions; ``generate_cards`` card
transactions; ``generate_worked_example`` the events of the worked example; ``disorder`` lateness, shuffling
and duplicates; ``jsonl`` any JSON-lines file; ``send`` where they go.
"""
