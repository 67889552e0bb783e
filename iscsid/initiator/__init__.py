"""What the daemon decides: the owner of all state, and the plans it makes.

A pure room: it is handed facts and the time, and returns orders. It touches no socket, clock,
file, log or randomness; what it wants logged, saved or timed is an order too.
"""
