"""The Temporal side: workflows, the activities that connect them, and their clients.

``processor`` the timeline worker; ``archive`` evicted keys; ``catalog`` the registry of metrics, and the
driver; ``durable`` what all of them need to survive restarts; ``client`` starting, asking and examining
workers; ``worker`` the process that runs it all; ``messages`` what goes in and out. What a node computes is
in ``timeline_workers.runtime``, which is pure.
"""
