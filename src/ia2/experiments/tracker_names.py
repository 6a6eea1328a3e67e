"""Names of the supported trackers, separate from their code, which is slow to import."""

from typing import Literal

TrackerName = Literal["trackio", "wandb", "tensorboard"]
