"""Attacks of ART and Foolbox as plugins: breadth, and references to compare with."""
