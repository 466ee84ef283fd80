"""``fttcp probe-server``: two copies of a server side by side on the same input, and where they differ."""
