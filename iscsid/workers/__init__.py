"""Short-lived children: discovery, login, LUN scan.

The keeper (in the daemon) forks and reaps them; everything else in this room runs only inside a
child, speaks ``protocol`` over TCP, and reports to the keeper in whole messages.
"""
