"""Bytes to the text a model sees: what a person would read of a mail or an SMS, and facts about it."""
