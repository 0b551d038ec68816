"""Mails made to break the reader: `make fuzz` for as long as one likes, a short run among the tests."""
