"""Mailboxes that exist already: Maildir, mbox, and what a sweep has done in them."""
