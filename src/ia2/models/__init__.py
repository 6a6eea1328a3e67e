"""Models: loading them, running them over batches, and recording what their attention puts out."""
