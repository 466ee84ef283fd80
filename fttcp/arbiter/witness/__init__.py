"""The witness: a small daemon on a third host that keeps the registers, and its client."""
