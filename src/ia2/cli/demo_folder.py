"""What the folder of a demo holds, and whether a folder is one; apart from the demo, which takes torch to import."""

from pathlib import Path

from ia2.errors import InputError

INSTRUCTION, LABELLED = "instruction", "labelled"
"""The folders of its two studies."""
FIGURES = "figures"


def check_demo_folder(folder: Path) -> None:
    """Refuse a folder for a demo that holds anything else; an absent one, or a demo that was begun, will do.

    Raises:
        InputError: it is a file, or something else is in it.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: this is a file, but a folder is needed. Name another one.")
    if not folder.is_dir():
        return
    if others := {path.name for path in folder.iterdir()} - {INSTRUCTION, LABELLED, FIGURES}:
        listed = ", ".join(sorted(others)[:3])
        raise InputError(f"{folder}: this folder holds something else ({listed}). Name another one with --out.")
