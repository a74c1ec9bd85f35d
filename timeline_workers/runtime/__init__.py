"""The pure state machine of a durable worker, which the workflows carry.

``node_worker`` is one node in one partition, with its edges; ``fused_nodes`` the nodes of one that computes
several; ``checkpoint`` its state as bytes, from one run to the next; ``checkpoint_migrations`` states of
earlier releases; ``eviction`` keys that leave it and come back, as an ``archive_segment`` each time;
``key_archive`` where they are meanwhile.
"""
