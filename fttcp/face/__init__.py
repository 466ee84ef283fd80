"""All that people and programs see of a running node."""
