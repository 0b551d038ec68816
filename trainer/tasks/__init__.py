"""What can be learned: for each task how people write its labels, what is trained, and what is counted."""
