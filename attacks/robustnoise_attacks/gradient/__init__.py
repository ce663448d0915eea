"""Crafters that follow the gradient of a source model."""
