"""Training: the teacher, the objectives, the methods, and the loop that trains a bank of adapters."""
