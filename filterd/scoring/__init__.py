"""Text to a verdict: the bundle, its engine, the memory of corrections and the decision."""
