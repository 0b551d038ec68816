"""Texts that people read, in every language that filterd speaks, from one catalogue a language."""
