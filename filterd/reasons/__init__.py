"""Why a message got its label, in words: the same for commands, headers, protocols and the console."""
