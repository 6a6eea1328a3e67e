"""Training: the teacher, objectives, methods, and the loop that trains a bank of adapters."""
