"""`filterd serve` as a process: listeners, signals, systemd, its mark in the state folder."""
