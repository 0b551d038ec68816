"""The trace that every judged message leaves: a line in the log, and a row that can be searched."""
