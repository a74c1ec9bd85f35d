"""The timeline worker: one node of a graph in one partition as a workflow."""
