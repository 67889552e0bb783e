"""All decisions of the daemon: which sessions and discoveries there are, and what they do next.

Pure: facts and the time come in, orders go out. It touches no socket, clock, file, log or
randomness.
"""
