"""What each command can be told; the docstring of every field is its help. What no study could say is refused here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from ia2.adapters.registry import KINDS, kinds_with
from ia2.cli.loading_options import Loading
from ia2.cli.suggestions import did_you_mean
from ia2.errors import FieldError, InputError
from ia2.experiments.tracker_names import TrackerName
from ia2.training.early_stopping import checked_count


def _check_seed(seed: int) -> None:
    # what a set is imports what tasks are, which --help has no need of
    from ia2.prompting.fewshot import checked_seed

    checked_seed("seed", seed)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """See it work in a few minutes: an instruction moved into an adapter of a small real model, and few labelled rows.

    Example:
        ia2 demo
        ia2 demo --quick --out tried
    """

    usage: ClassVar[str] = ""
    out: Path = Path("ia2-demo")
    """Folder for records, predictions, adapters and figures: absent, empty, or of the same demo."""
    seed: int = 0
    """The seed of the first of three sets of reviews."""
    quick: bool = False
    """Two sets, few rows and few steps: a check that everything works, not a result."""

    def __post_init__(self) -> None:
        _check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Source(Loading):
    """Which model, and where the rows come from."""

    model: str
    """A built-in model (`ia2 models` lists them), a Hugging Face id, a folder, or a GGUF file."""
    data: Path | None = None
    """Labelled rows: a CSV, TSV, JSON, JSONL, Parquet or Excel file, a folder of save_to_disk, or hf:owner/name."""
    task: str | None = None
    """A built-in task instead of a file (`ia2 tasks` lists them)."""
    text: str | None = None
    """The file's column of texts, where it can't be guessed; a nested one as data.body."""
    label: str | None = None
    """The file's column of labels, where it can't be guessed."""
    encoding: str | None = None
    """The encoding of text files, such as utf-16 or cp1252 (default: detected)."""
    data_dir: Path | None = None
    """A local folder of benchmark files instead of the hub (default: $IA2_DATA_DIR)."""
    seed: int = 0
    """Which rows are drawn for training or as demonstrations."""
    draw: Literal["auto", "class", "random"] = "auto"
    """Whether those rows have each label at least once and then in proportion (class), or are any by chance (random);
    auto is class for a file with labels, and random for a built-in task, as in the paper."""
    limit: int | None = None
    """The most rows to evaluate."""
    response_kind: Literal["label", "text"] | None = None
    """Whether a file's responses are free text or labels (default: text where labels are many and long)."""
    max_new_tokens: int | None = None
    """How long a response of free text may get (default: 200, and as the paper has it for a built-in task)."""
    stop: str | None = None
    """A text or special token that ends a response of free text, beside the model's own end (default: a blank line)."""
    chat: bool = False
    """Ask through the model's chat template."""
    context: Path | None = None
    """A text file that stands before every query instead of demonstrations, such as a system prompt."""
    label_scoring: Literal["auto", "token", "whole"] = "auto"
    """Whether a label's one token competes with the whole vocabulary (token), or whole labels with each other (whole);
    auto is whole for a file, and the paper's token for a built-in task."""
    ece: Literal["equal-width", "equal-mass"] = "equal-width"
    """How confidence is cut into 15 bins."""

    def __post_init__(self) -> None:
        if (self.data is None) == (self.task is None):
            raise InputError("Say where the rows come from: --data FILE or --task NAME, one of them.")
        if self.data is not None and self.data_dir is not None:
            raise InputError(f"--data-dir {self.data_dir}: this is for --task; --data names the file itself.")
        if self.limit is not None:
            checked_count("limit", self.limit)
        _check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Adapt(Source):
    """Turn labelled rows into an adapter, and measure what it is worth beside learning in context.

    Example:
        ia2 adapt --model smollm2-135m --data reviews.csv --out my-adapter
        ia2 adapt --model smollm2-135m --task sst2 --n 16 --lr 3e-4 1e-3 --out sst2
    """

    usage: ClassVar[str] = "--model MODEL (--data FILE | --task TASK) --out FOLDER"
    out: Path
    """Folder for the adapter, records and predictions: absent, empty, or of the same adaptation, which then goes on."""
    eval_data: Path | None = None
    """A second file with the same columns to evaluate; without it, the rows that training leaves over are evaluated."""
    unlabelled: Path | None = None
    """A file of more texts, without labels, for the model to answer in context and the adapter to be aligned on."""
    teacher_tokens: int | None = None
    """The most tokens of free text that the model writes in context (default: 200 for a built-in task, as in the paper,
    else as many as a response may get)."""
    orders: int = 1
    """In how many orders of the demonstrations the model answers each unlabelled text."""
    order: str = "random"
    """Order of the demonstrations: random, or best-of-8 for the best of 8 (or any number) by dev loss."""
    n: int | None = None
    """Training rows (default: half of a file's, at most 128; 16 of a task). Half as many more are dev rows."""
    method: str = "ia2-sft"
    """A method (`ia2 methods` lists them), or a YAML file that describes one."""
    align: Literal["mixers", "attention"] = "mixers"
    """Align all layers that mix tokens, or in hybrids those that attend alone."""
    label_source: Literal["ground-truth", "icl-response"] | None = None
    """What fine-tuning fits: the rows' own labels, or what the model answers in context (default: the method's own)."""
    beta: tuple[float, ...] = ()
    """Weights of the token loss in ia2+sft; the best is kept (default: four that suit the model's family)."""
    adapter: str = "lora"
    """What is trained: low-rank updates (lora), scales (ia3), virtual tokens (prompt), their keys and values (prefix),
    whole projections (full), scales of shared random updates (vera), or a vector a layer (shift)."""
    sizes: Mapping[str, Any] = field(default_factory=dict, metadata={"sizes": True})
    """The adapter's sizes; each kind's have options of their own."""
    lr: tuple[float, ...] = ()
    """Learning rates; the best by dev loss is kept (default: three that suit the adapter, 1e-4 3e-4 1e-3 for LoRA; the
    middle one alone where responses are free text, whose steps take far longer)."""
    epochs: int = 50
    """The most passes over the training rows; training stops before where the dev loss stops falling."""
    batch_size: int = 4
    """Training rows a step."""
    patience: int = 5
    """How many times in a row the dev loss is taken without a new best before training stops."""
    teacher_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """In which the model answers in context (default: as it is loaded, since an adapter is trained against the teacher
    that it will be compared with)."""
    memory: float | None = None
    """GiB that training may take beyond the model (default: a share of all that the machine has)."""
    compare: bool = True
    """Measure zero-shot, ICL and SFT beside the method, and of labels recalibrated ICL and logistic regressions."""
    track: TrackerName | None = None
    """Show the records in this tracker too, each as a run with its losses. It must be installed:
    pip install 'ia2[trackio]', or one of the others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "batch_size", "patience", "orders", "teacher_tokens"):
            if (value := getattr(self, name)) is not None:
                checked_count(name, value)
        if self.adapter not in KINDS:
            hint = did_you_mean(self.adapter, KINDS)
            raise FieldError("adapter", self.adapter, f"there is no such kind.{hint} There are {', '.join(KINDS)}.")
        for name in self.sizes:
            if self.adapter not in (kinds := kinds_with(name)):
                raise FieldError(name, None, f"this is for --adapter {' or '.join(kinds)}, and not for {self.adapter}.")


@dataclass(frozen=True, kw_only=True)
class Evaluate(Source):
    """Measure a model zero-shot, with demonstrations in context, or with an adapter.

    Example:
        ia2 evaluate --model smollm2-135m --task sst2 --icl 8
        ia2 evaluate --model smollm2-135m --adapter my-adapter/adapter --data more.csv
    """

    usage: ClassVar[str] = "--model MODEL (--data FILE | --task TASK)"
    adapter: Path | None = None
    """Folder of an adapter in PEFT's format."""
    icl: int | None = None
    """How many demonstrations are shown before every query."""
    limit: int | None = 500
    """The most rows to evaluate."""
    out: Path | None = None
    """File for the record, which must not exist; predictions go beside it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adapter is not None and self.icl is not None:
            raise InputError(
                f"--icl {self.icl}: an adapter answers without demonstrations; leave --icl or --adapter out."
            )
        if self.context is not None and (self.icl is not None or self.adapter is not None):
            raise InputError(
                f"--context {self.context}: this stands alone before a query; leave --icl and --adapter out."
            )
        if self.icl is None and self.draw != "auto":
            raise InputError(f"--draw {self.draw}: this is for demonstrations; say how many with --icl.")
        if self.icl is not None and self.icl < 2:
            raise InputError(f"--icl {self.icl}: at least 2 demonstrations are drawn.")


@dataclass(frozen=True, kw_only=True)
class Predict(Loading):
    """Answer rows without labels with an adapter: the same rows, each with its prediction.

    Example:
        ia2 predict --adapter my-adapter/adapter "A fine film."
        ia2 predict --adapter my-adapter/adapter --data new.csv --out answered.csv
    """

    usage: ClassVar[str] = "--adapter FOLDER (TEXT ... | --data FILE)"
    texts: tuple[str, ...] = field(default=(), metadata={"positional": True})
    """Texts to answer, or - for one on each line of the standard input."""
    adapter: Path
    """Folder of an adapter that ia2 has made; it knows its model, labels, template and scoring."""
    data: Path | None = None
    """Rows to answer instead of texts: a file, a folder of save_to_disk, or hf:owner/name[:config:split]."""
    text: str | None = None
    """The column of texts (default: the one that the adapter was taught from)."""
    encoding: str | None = None
    """The file's encoding, where it can't be told from its bytes."""
    out: Path | None = None
    """File for the rows with their predictions, whose ending says the format: .csv, .tsv, .json, .jsonl, .parquet or
    .xlsx. It must not exist, or be what a killed run of the same command has begun. Without it they are printed."""
    probabilities: bool = False
    """A column for each label's probability as well."""
    model: str | None = None
    """Another model than the one that the adapter names."""

    def __post_init__(self) -> None:
        if bool(self.texts) == (self.data is not None):
            raise InputError("Say what to answer: texts, - for the standard input, or --data FILE, one of them.")
        if self.data is None and self.text is not None:
            raise FieldError("text", self.text, "this is a column of a file, which --data names.")
        if self.data is None and self.out is not None:
            raise FieldError("out", self.out, "this goes with --data; the answers to texts are printed.")


@dataclass(frozen=True, kw_only=True)
class Export:
    """Turn an adapter into what others serve: merged weights, a GGUF file, or a repository of the hub.

    Example:
        ia2 export my-adapter/adapter --merged merged
        ia2 export my-adapter/adapter --gguf adapter.gguf
    """

    usage: ClassVar[str] = "FOLDER (--merged FOLDER | --gguf FILE | --push OWNER/NAME)"
    adapter: Path = field(metadata={"positional": True})
    """Folder of an adapter in PEFT's format."""
    merged: Path | None = None
    """Folder for the base model with the adapter merged into its weights: absent or empty."""
    gguf: Path | None = None
    """File for a LoRA as llama.cpp and Ollama read it, which must not exist."""
    push: str | None = None
    """A new repository of the hub, OWNER/NAME, to upload the folder to; the token is read from HF_TOKEN."""
    public: bool = False
    """Let everyone see that repository; else it is private."""
    model: str | None = None
    """The base model, where it isn't the one that the adapter's folder names."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Of merged weights, instead of float32."""

    def __post_init__(self) -> None:
        if sum(target is not None for target in (self.merged, self.gguf, self.push)) != 1:
            raise InputError("Say what to export to: --merged DIR, --gguf FILE or --push OWNER/NAME, one of them.")
        if self.public and self.push is None:
            raise InputError("--public: this is for --push.")
        if self.model is not None and self.push is not None:
            raise InputError(f"--model {self.model}: this is for --merged and --gguf; --push uploads what is there.")
        if self.dtype is not None and self.merged is None:
            raise InputError(f"--dtype {self.dtype}: this is for --merged.")


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Show what is kept so that it needn't be fetched or computed again, or take away what hasn't been used for long.

    Example:
        ia2 cache
        ia2 cache prune --days 7
    """

    usage: ClassVar[str] = "[list | where | prune]"
    action: Literal["list", "where", "prune"] = field(default="list", metadata={"positional": True})
    """Show each kind with its size (the default), print the folder, or take away."""
    days: int | None = None
    """Prune what no command has used for so many days (default: 30); 0 for everything. It is made again when needed."""

    def __post_init__(self) -> None:
        if self.days is not None and self.action != "prune":
            raise FieldError("days", self.days, "this goes with prune: ia2 cache prune.")
        if self.days is not None and self.days < 0:
            raise FieldError("days", self.days, "this must be 0 or more.")
