"""Adapters: their kinds, and one of them in memory, on disk or at work."""
