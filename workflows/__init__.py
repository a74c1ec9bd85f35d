"""The Temporal side: workflows, the activities that connect them, and the clients that start and ask them.

``processors`` the two kinds of timeline worker (with ``inbox`` and ``edges``); ``driver`` and ``catalog``
make a metric's graph run and know which metrics there are, through ``catalog_activities`` and ``start``;
``ask`` questions, applying and removing, for clients; ``worker`` the process that runs it all; ``messages``
what goes in and out. What a node computes is not here but in ``timeline_workers.runtime``, which is pure.
"""
