"""A durable worker without its durability: the pure state machine that the workflows carry.

``worker`` one node in one partition, with its edges; ``answering`` questions as JSON; ``state`` what it
carries from one run to the next, as bytes.
"""
