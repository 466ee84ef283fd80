"""Resources: what only the node that serves a group of mode "address" runs."""
