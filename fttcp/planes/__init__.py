"""Engines behind one interface, and the rules, routes and addresses that they need."""
