"""A durable worker without its durability: the pure state machine that the workflows carry.

``worker`` one node in one partition, with its edges; ``answering`` questions as JSON; ``state`` what it
carries from one run to the next, as bytes; ``migrations`` such states of earlier releases; ``departing`` keys
that leave it and come back, as a ``segment`` each time; ``archive`` where they are meanwhile.
"""
