"""What a node changes and watches in its host's network: rules, routes, addresses, interfaces."""
