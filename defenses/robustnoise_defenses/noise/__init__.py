"""Noise at inference."""
