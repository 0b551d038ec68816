"""Millions of stored messages scored at a time, by many processes."""
