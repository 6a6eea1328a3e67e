"""The paper's printed results, for comparison with ours."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import NamedTuple

from ia2.reports.aggregate import Setting

LABELS_MEAN_NOTHING = ("zero-shot", "icl", "ia2", "ia2+sft", "sft-soft")
"""Methods that use no labels or, in the paper as here, always the model's own in-context answers."""
ADAPTERS_OF_TABLE_7 = {
    "r8-qko": ("lora",),
    "r8-qk": ("lora q,k",),
    "r8-qkv": ("lora q,k,v",),
    # the paper doesn't say which α it used
    "r16-qko": ("lora r16 α8", "lora r16 α16"),
}
ADAPTERS = {"ia3": ("ia3", "ia3 inputs")}
"""Our adapters for the paper's names: its text describes IA3 on outputs, its scripts use IA3 on inputs."""


class Key(NamedTuple):
    """The setting of a printed number; None for parts that don't apply to the method."""

    model: str
    """Last part of the hub id, such as `Qwen3-4B-Base`."""
    adapter: str | None
    label_source: str | None
    n: int | None
    source: str | None
    eval: str
    method: str

    @classmethod
    def of(cls, setting: Setting, method: str) -> "Key":
        """Return the key of a method in a setting, whose model may be named by the full hub id."""
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
    """Means and standard deviations over the paper's five sets; None for numbers it doesn't report."""

    accuracy: float | None
    """Mean accuracy in percent."""
    ece: float | None
    accuracy_deviation: float | None = None
    """Standard deviation in percentage points over the five sets, with divisor n."""
    ece_deviation: float | None = None


class PairedTTest(NamedTuple):
    """A paired t-test of Table 8; None for values it doesn't report."""

    t: float | None
    """t, positive if IA2→SFT is better than SFT."""
    p: float | None
    """Two-sided p value."""


@dataclass(frozen=True)
class Paper:
    """The paper's means and tests."""

    means: Mapping[Key, Printed]
    tests: Mapping[tuple[str, int, str], PairedTTest] = field(default_factory=dict)
    """Tests by kind of response (`single-token`, `multi-token`), N and measure (`accuracy`, `ece`)."""

    def of(self, setting: Setting, method: str) -> Printed:
        """Return the paper's numbers for a method in a setting."""
        return self.means.get(Key.of(setting, method), Printed(None, None))

    def tests_of(self, setting: Setting) -> bool:
        """Return whether the paper's tests cover the setting: LoRA, ground truth, and its models and tasks."""
        setting_key = Key.of(setting, "sft")
        return (setting_key.adapter, setting_key.label_source) == ("lora", "ground-truth") and any(
            setting_key._replace(n=key.n) == key for key in self.means
        )

    def test(self, responses: str, n: int, measure: str) -> PairedTTest:
        """Return the paper's test of IA2→SFT against SFT over all models and tasks with this kind of response."""
        return self.tests.get((responses, n, measure), PairedTTest(None, None))


def load_paper() -> Paper:
    """Load Tables 1–20 from the package's own copy."""

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
    """Parse the means of the printed rows; a setting may be printed in several tables.

    Args:
        rows: the rows of `results.csv`.

    Raises:
        ValueError: the tables disagree on a setting.
    """
    means: dict[Key, Printed] = {}
    for row in rows:
        if not row["acc_mean"]:
            continue  # a column with a heading but no numbers (Table 17)
        columns = ("acc_mean", "ece_mean", "acc_std", "ece_std")
        printed = Printed(*(float(row[column]) if row.get(column) else None for column in columns))
        config = row["adapter_config"]
        for adapter in ADAPTERS_OF_TABLE_7[config] if config else ADAPTERS.get(row["adapter"], (row["adapter"],)):
            setting = Setting(row["model"], adapter, row["label_source"], int(row["n"]), row["source"], row["eval"])
            key = Key.of(setting, row["method"])
            if means.setdefault(key, printed) != printed:
                raise ValueError(f"the paper has both {means[key]} and {printed} of {key}")
    return means
