"""A user's own file as a task: a reader for each data format, and apart from them what a table becomes."""

from ia2.tasks.files.labelled import ResponseKind, load_file
from ia2.tasks.files.queries import load_queries

__all__ = ["ResponseKind", "load_file", "load_queries"]
