"""Which bundle judges: promoted, put on trial, taken back; and the daemon of a state folder told of it."""
