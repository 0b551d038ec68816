"""The protocol of SpamAssassin's spamd, for spamc, Exim and every other client of it."""
