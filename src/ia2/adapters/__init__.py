"""Adapters: their kinds, their format on disk, and running them on a network."""
