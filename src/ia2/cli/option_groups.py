"""Groups of the options in a command's help, and the placeholders of their values."""

from collections.abc import Mapping

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Data": {
        "experiment": "EXPERIMENT",
        "folder": "FOLDER",
        "action": "ACTION",
        "texts": "TEXT",
        "data": "FILE",
        "task": "TASK",
        "text": "COLUMN",
        "label": "COLUMN",
        "encoding": "ENCODING",
        "eval_data": "FILE",
        "unlabelled": "FILE",
        "orders": "COUNT",
        "data_dir": "FOLDER",
        "response_kind": "",
        "n": "ROWS",
        "seed": "SEED",
        "draw": "",
        "icl": "ROWS",
        "order": "ORDER",
        "context": "FILE",
    },
    "Model": {
        "model": "MODEL",
        "adapter": "FOLDER",
        "chat": "",
        "dtype": "",
        "device": "DEVICE",
        "load": "",
        "attention": "",
    },
    "Method": {
        "method": "METHOD",
        "align": "",
        "label_source": "",
        "beta": "WEIGHT",
        "adapt.adapter": "KIND",
        "rank": "RANK",
        "alpha": "ALPHA",
        "modules": "",
        "dora": "",
        "rslora": "",
        "dropout": "SHARE",
        "scale": "",
        "virtual_tokens": "COUNT",
    },
    "Training": {
        "lr": "RATE",
        "epochs": "COUNT",
        "batch_size": "ROWS",
        "patience": "COUNT",
        "teacher_dtype": "",
        "memory": "GIB",
    },
    "Evaluation": {
        "limit": "ROWS",
        "quick": "",
        "compare": "",
        "label_scoring": "",
        "ece": "",
        "max_new_tokens": "COUNT",
        "teacher_tokens": "COUNT",
        "stop": "TEXT",
        "probabilities": "",
    },
    "Output": {
        "out": "FOLDER",
        "evaluate.out": "FILE",
        "predict.out": "FILE",
        "format": "",
        "store": "FOLDER",
        "paper": "",
        "keep_records": "",
        "merged": "FOLDER",
        "gguf": "FILE",
        "push": "OWNER/NAME",
        "public": "",
        "track": "",
        "dry_run": "",
        "cluster": "HOST:PORT",
        "days": "DAYS",
    },
}
"""Placeholders by option and group, in the order of the help; `COMMAND.option` if one command's option differs."""


def group_of(command: str, option: str) -> tuple[str, str]:
    """Return the group of a command's option and the placeholder of its value.

    The placeholder is empty if the option's choices are shown instead, or if it takes no value.

    Args:
        command: the command's name.
        option: name of the option's field in the command's dataclass.

    Raises:
        KeyError: the option is in no group.

    Example:
        >>> group_of("adapt", "adapter"), group_of("predict", "adapter")
        (('Method', 'KIND'), ('Model', 'FOLDER'))
    """
    for name in (f"{command}.{option}", option):
        for group, options in GROUPS.items():
            if name in options:
                return group, options[name]
    raise KeyError(f"{command}: {option} is in no group")
