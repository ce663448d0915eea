"""Attacks that ask the victim itself, and know that its answers may be noisy."""
