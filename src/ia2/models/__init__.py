"""Language models: fetching, loading, and forward passes that record activations at chosen positions."""
