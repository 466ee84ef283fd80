"""One group on one node: its engine, its role machine, its server, and what flows between them."""
