"""SMTP and LMTP proxy: mail goes through filterd to a next hop, and 250 means that the next hop has it."""
