"""Classifiers that people bring: one small module a kind, and what they share."""
