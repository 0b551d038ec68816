"""The console: what an administrator sees and does in a browser, served by the daemon's HTTP listener."""
