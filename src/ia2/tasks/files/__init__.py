"""A user's file as a task: one reader per data format, and the conversion of a table to a task."""

from ia2.tasks.files.labelled import ResponseKind, load_file
from ia2.tasks.files.queries import load_queries

__all__ = ["ResponseKind", "load_file", "load_queries"]
