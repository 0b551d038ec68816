"""What people set: whom to let through and whom to stop, and from which probability mail is called spam."""
