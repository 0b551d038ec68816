"""From a run to a bundle: graph, quantisation, parity, the fast path, the model card."""
