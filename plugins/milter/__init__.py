"""The milter protocol, for Postfix and Sendmail: tag, refuse, defer, hold or drop mail as it comes in."""
