"""What the paper printed, to stand beside what was measured."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import NamedTuple

from ia2.reports.aggregate import Setting

LABELS_MEAN_NOTHING = ("zero-shot", "icl", "ia2", "ia2+sft", "sft-soft")
"""Methods that fit no labels or, in the paper as here, always the model's own answers in context."""
ADAPTERS_OF_TABLE_7 = {
    "r8-qko": ("lora",),
    "r8-qk": ("lora q,k",),
    "r8-qkv": ("lora q,k,v",),
    # which α went with it, the paper doesn't say
    "r16-qko": ("lora r16 α8", "lora r16 α16"),
}
ADAPTERS = {"ia3": ("ia3", "ia3 inputs")}
"""What the paper calls by one name and we by several: the text scales outputs, the scripts inputs."""


class Key(NamedTuple):
    """What a printed number is about; None where a part means nothing for the method."""

    model: str
    """The last part of the hub's id: `Qwen3-4B-Base`."""
    adapter: str | None
    label_source: str | None
    n: int | None
    source: str | None
    eval: str
    method: str

    @classmethod
    def of(cls, setting: Setting, method: str) -> "Key":
        """The key of a method in a setting, whose model may be named by the hub's whole id."""
        trained, shown = method not in ("zero-shot", "icl"), method != "zero-shot"
        return cls(
            setting.model.rpartition("/")[2],
            setting.adapter if trained else None,
            setting.label_source if method not in LABELS_MEAN_NOTHING else None,
            setting.n if shown else None,
            setting.source if shown else None,
            setting.eval,
            method,
        )


class Printed(NamedTuple):
    """Means over the paper's five sets, with their standard deviations; None where it reports none."""

    accuracy: float | None
    """In percent."""
    ece: float | None
    accuracy_deviation: float | None = None
    """In percent, of all five (its divisor is n)."""
    ece_deviation: float | None = None


class PairedTTest(NamedTuple):
    """A paired t-test of Table 8; None where it has none."""

    t: float | None
    """Positive where IA2→SFT is better than SFT."""
    p: float | None
    """Two-sided."""


@dataclass(frozen=True)
class Paper:
    """The paper's means, and its tests."""

    means: Mapping[Key, Printed]
    tests: Mapping[tuple[str, int, str], PairedTTest] = field(default_factory=dict)
    """By kind of response (`single-token`, `multi-token`), N and measure (`accuracy`, `ece`)."""

    def of(self, setting: Setting, method: str) -> Printed:
        """What the paper printed of a method in a setting."""
        return self.means.get(Key.of(setting, method), Printed(None, None))

    def tests_of(self, setting: Setting) -> bool:
        """Whether its tests are of what a setting is: LoRA and ground truth, on a model and tasks of the paper's."""
        setting_key = Key.of(setting, "sft")
        return (setting_key.adapter, setting_key.label_source) == ("lora", "ground-truth") and any(
            setting_key._replace(n=key.n) == key for key in self.means
        )

    def test(self, responses: str, n: int, measure: str) -> PairedTTest:
        """Its test of IA2→SFT against SFT over all its models and tasks of a kind of response."""
        return self.tests.get((responses, n, measure), PairedTTest(None, None))


def load_paper() -> Paper:
    """Tables 1–20, from the package's own copy."""

    def rows(name: str) -> Iterable[Mapping[str, str]]:
        text = (files("ia2.reports") / "paper_results" / name).read_text(encoding="utf-8")
        return csv.DictReader(io.StringIO(text))

    measures = {"acc": "accuracy", "ece": "ece"}
    tests = {
        (row["setting"], int(row["n"]), measures[row["comparison"]]): PairedTTest(float(row["t"]), float(row["p"]))
        for row in rows("significance.csv")
    }
    return Paper(read_means(rows("results.csv")), tests)


def read_means(rows: Iterable[Mapping[str, str]]) -> dict[Key, Printed]:
    """The means of the printed rows; a setting may be printed in several tables.

    Args:
        rows: as `results.csv` has them.

    Raises:
        ValueError: a setting is printed with different numbers.
    """
    means: dict[Key, Printed] = {}
    for row in rows:
        if not row["acc_mean"]:
            continue  # a column that is headed and blank (Table 17)
        columns = ("acc_mean", "ece_mean", "acc_std", "ece_std")
        printed = Printed(*(float(row[column]) if row.get(column) else None for column in columns))
        config = row["adapter_config"]
        for adapter in ADAPTERS_OF_TABLE_7[config] if config else ADAPTERS.get(row["adapter"], (row["adapter"],)):
            setting = Setting(row["model"], adapter, row["label_source"], int(row["n"]), row["source"], row["eval"])
            key = Key.of(setting, row["method"])
            if means.setdefault(key, printed) != printed:
                raise ValueError(f"the paper has both {means[key]} and {printed} of {key}")
    return means
