"""The trackers that records can be shown in; apart from what shows them, which takes long to import."""

from typing import Literal

TrackerName = Literal["trackio", "wandb", "tensorboard"]
