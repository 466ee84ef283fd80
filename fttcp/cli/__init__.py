"""The commands. They talk to the daemon over its control socket, never to the core."""
