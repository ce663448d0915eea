"""Rows to text: pure functions of records."""
