"""Defenses that change the image."""
