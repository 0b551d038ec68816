"""What filterd speaks by itself; everything else is a plugin."""
