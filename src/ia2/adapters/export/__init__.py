"""Exports of an adapter for other software: merged weights, a GGUF file, a repository on the hub."""
