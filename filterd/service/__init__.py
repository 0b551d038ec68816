"""The one Classifier behind every listener: queue, cache, trial of a challenger, metrics."""
