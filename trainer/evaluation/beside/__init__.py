"""What stands beside the GPT-2: classifiers of other kinds, each fitted on the spot, and one table of all."""
