"""Fine-tuning: recipes, batches, the loop and a run's folder."""
