"""What others serve is made of an adapter: merged weights, a GGUF file, a repository of the hub."""
