"""Labelled messages to a dataset folder."""
