"""Spam disguised as senders do it, and training texts changed as the world changes them."""
