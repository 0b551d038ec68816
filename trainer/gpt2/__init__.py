"""The model: GPT-2 and its classifier in PyTorch, its weights, its checkpoints."""
