"""Defenses that change what an answer shows."""
