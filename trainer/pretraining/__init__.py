"""Before the labels: language modelling, and what a teacher hands down to a student."""
