"""Pure decisions: no sockets, clocks, threads or randomness. Time is an argument."""
