"""The graph of a metric: from an expression to named nodes, and from nodes to one worker per partition.

``logical`` cuts the canonical expression into nodes, equal ones once, and names each by what it computes;
``plan`` spreads them over partitions and says which columns a leaf is sent; ``draw`` shows the result as DOT,
SVG, Mermaid or a tree in the terminal.
"""
