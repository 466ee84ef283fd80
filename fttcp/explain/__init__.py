"""What the engine decides about the packets of a capture, and why."""
