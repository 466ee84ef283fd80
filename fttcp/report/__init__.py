"""What happened on a node, and where it is told."""
