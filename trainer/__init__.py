"""trainer: from labelled messages to a bundle that filterd judges with. May import torch."""
