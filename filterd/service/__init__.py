"""The one Classifier behind every listener: queue, cache, shadow, metrics."""
