"""What activations and adapters say about how a model adapted."""
