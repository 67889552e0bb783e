"""The daemon as a process: background, pid file, signals, loop, log, systemd, its files."""
