"""Hands and ears: the only room that touches the machine.

Each module turns orders into calls, or readiness into facts, and decides nothing.
"""
