"""Corrections to a challenger, and the gate that it has to pass."""
