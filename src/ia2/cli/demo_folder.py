"""Layout and check of the demo's folder, separate from the demo itself, which imports torch."""

from pathlib import Path

from ia2.errors import InputError

INSTRUCTION, LABELLED = "instruction", "labelled"
"""Folders of the demo's two studies."""
FIGURES = "figures"


def check_demo_folder(folder: Path) -> None:
    """Refuse a demo folder that holds anything else; it may be absent, or hold a demo that was started.

    Raises:
        InputError: the path is a file, or the folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: this is a file, but a folder is needed. Name another one.")
    if not folder.is_dir():
        return
    if others := {path.name for path in folder.iterdir()} - {INSTRUCTION, LABELLED, FIGURES}:
        listed = ", ".join(sorted(others)[:3])
        raise InputError(f"{folder}: this folder holds something else ({listed}). Name another one with --out.")
