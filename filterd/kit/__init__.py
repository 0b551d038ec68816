"""What a plugin would else write again: settings, addresses, places for connections, folded headers, HTTP.

The protocols of filterd's own use the same. `docs/plugins/writing.md` shows how.
"""
