"""The plan of a metric: from an expression to named nodes, and from nodes to one worker per partition.

``logical`` cuts the canonical expression into nodes, equal ones once, and names each by what it computes and
by how it reads events (``reading``); ``physical`` spreads them over partitions and says which columns a leaf
is sent; ``sharing`` says which workers metrics share; ``drawing`` shows a plan as DOT, SVG, Mermaid or a
tree.
"""
