"""Many groups over many hosts. Pure: no socket, clock or file."""
