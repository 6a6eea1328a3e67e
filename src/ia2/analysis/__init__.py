"""Analysis of activations, adapters and results: similarity, subspace overlap, and statistical tests."""
