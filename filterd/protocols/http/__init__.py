"""HTTP: `/v1` of our own, the paths that Rspamd's clients use, metrics and health."""
