"""The options of each command; each field's docstring is its help. Options that contradict each other are refused."""

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
    from ia2.prompting.drawing import checked_seed

    checked_seed("seed", seed)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """See it work in a few minutes: move an instruction into an adapter, and learn from a few labelled rows.

    Example:
        ia2 demo
        ia2 demo --quick --out tried
    """

    usage: ClassVar[str] = ""
    out: Path = Path("ia2-demo")
    """Folder for records, predictions, adapters and figures. It must be new or empty, or hold the same demo."""
    seed: int = 0
    """Seed of the first of three sets of reviews."""
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
    """Labelled rows: a CSV, TSV, JSON, JSONL, Parquet or Excel file, a folder written by save_to_disk, or
    hf:owner/name."""
    task: str | None = None
    """A built-in task instead of a file (`ia2 tasks` lists them)."""
    text: str | None = None
    """The file's column of texts, if it can't be guessed; a nested one as data.body."""
    label: str | None = None
    """The file's column of labels, if it can't be guessed."""
    encoding: str | None = None
    """The encoding of text files, such as utf-16 or cp1252 (default: detected)."""
    data_dir: Path | None = None
    """A local folder of benchmark files instead of the hub (default: $IA2_DATA_DIR)."""
    seed: int = 0
    """Seed of the draw of rows for training or as demonstrations."""
    draw: Literal["auto", "class", "random"] = "auto"
    """How those rows are drawn: each label at least once, then in proportion (class), or at random (random). auto is
    class for a file with labels, and random for a built-in task, as in the paper."""
    limit: int | None = None
    """Maximum number of rows to evaluate."""
    response_kind: Literal["label", "text"] | None = None
    """Whether a file's responses are labels or free text (default: text if they are many and long)."""
    max_new_tokens: int | None = None
    """Maximum length of a free-text response in tokens (default: the paper's for a built-in task, otherwise 200)."""
    stop: str | None = None
    """A string or special token that ends a free-text response, besides the model's end token (default: a blank
    line)."""
    chat: bool = False
    """Use the model's chat template."""
    context: Path | None = None
    """A text file whose content is put before every query instead of demonstrations, such as a system prompt."""
    label_scoring: Literal["auto", "token", "whole"] = "auto"
    """How labels are scored: a label's single token against the whole vocabulary (token), or whole labels against each
    other (whole). auto is whole for a file, and token, as in the paper, for a built-in task."""
    ece: Literal["equal-width", "equal-mass"] = "equal-width"
    """How the 15 bins of the ECE are formed."""

    def __post_init__(self) -> None:
        if (self.data is None) == (self.task is None):
            raise InputError("Say where the rows come from: either --data FILE or --task NAME.")
        if self.data is not None and self.data_dir is not None:
            raise InputError(f"--data-dir {self.data_dir}: this is for --task; --data names the file itself.")
        if self.limit is not None:
            checked_count("limit", self.limit)
        _check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Adapt(Source):
    """Train an adapter on labelled rows, and compare it with in-context learning.

    Example:
        ia2 adapt --model smollm2-135m --data reviews.csv --out my-adapter
        ia2 adapt --model smollm2-135m --task sst2 --n 16 --lr 3e-4 1e-3 --out sst2
    """

    usage: ClassVar[str] = "--model MODEL (--data FILE | --task TASK) --out FOLDER"
    out: Path
    """Folder for the adapter, records and predictions. It must be new or empty, or hold
    the same run, which is resumed."""
    eval_data: Path | None = None
    """A second file with the same columns to evaluate (default: evaluate the rows that aren't used for training)."""
    unlabelled: Path | None = None
    """A file of texts without labels: the model answers them in context, and the adapter is aligned on the answers
    too."""
    teacher_tokens: int | None = None
    """Maximum length in tokens of the teacher's free-text responses (default: 200 for a built-in task, as in the paper,
    otherwise that of responses)."""
    orders: int = 1
    """Number of orders of the demonstrations in which the teacher answers each unlabelled text."""
    order: str = "random"
    """Order of the demonstrations: random, or best-of-8 for the best of 8 (or any other number) by dev loss."""
    n: int | None = None
    """Number of training rows (default: half of a file's rows, at most 128; 16 for a task). Half as many others are dev
    rows."""
    method: str = "ia2-sft"
    """A method (`ia2 methods` lists them), or a YAML file that describes one."""
    align: Literal["mixers", "attention"] = "mixers"
    """Which layers of hybrid models are aligned: all that mix tokens (mixers), or only attention layers (attention)."""
    label_source: Literal["ground-truth", "icl-response"] | None = None
    """Targets of fine-tuning: the rows' labels, or the model's answers in context (default: the method's own)."""
    beta: tuple[float, ...] = ()
    """Weights of the token loss in ia2+sft; the best is kept (default: four values that suit the model's family)."""
    adapter: str = "lora"
    """What is trained: low-rank updates (lora), scales (ia3), virtual tokens (prompt), their keys and values (prefix),
    whole projections (full), scales of shared random updates (vera), or one vector per layer (shift)."""
    sizes: Mapping[str, Any] = field(default_factory=dict, metadata={"sizes": True})
    """The adapter's sizes; each kind has options of its own."""
    lr: tuple[float, ...] = ()
    """Learning rates; the best by dev loss is kept (default: three that suit the adapter, 1e-4 3e-4 1e-3 for LoRA; only
    the middle one for free text, where steps take far longer)."""
    epochs: int = 50
    """Maximum number of passes over the training rows; early stopping by dev loss may end training sooner."""
    batch_size: int = 4
    """Training rows per step."""
    patience: int = 5
    """Early stopping: number of dev evaluations without a new best after which training stops."""
    teacher_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """dtype of the teacher, if it differs from the model's (default: the same, so that the adapter is compared with the
    teacher it was trained on)."""
    memory: float | None = None
    """Memory in GiB that training may use beyond the model (default: a share of the machine's total)."""
    compare: bool = True
    """Also measure zero-shot, ICL and SFT, and for labels recalibrated ICL and logistic regressions."""
    track: TrackerName | None = None
    """Also log the records to this tracker, each as a run with its losses. Install it with pip install 'ia2[trackio]',
    or another of these names."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "batch_size", "patience", "orders", "teacher_tokens"):
            if (value := getattr(self, name)) is not None:
                checked_count(name, value)
        if self.adapter not in KINDS:
            hint = did_you_mean(self.adapter, KINDS)
            raise FieldError("adapter", self.adapter, f"there is no such kind.{hint} Choose from {', '.join(KINDS)}.")
        for name in self.sizes:
            if self.adapter not in (kinds := kinds_with(name)):
                raise FieldError(name, None, f"this is for --adapter {' or '.join(kinds)}, not for {self.adapter}.")


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
    """Number of demonstrations shown before every query."""
    limit: int | None = 500
    """Maximum number of rows to evaluate."""
    out: Path | None = None
    """File for the record. It must not exist; predictions are written beside it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adapter is not None and self.icl is not None:
            raise InputError(
                f"--icl {self.icl}: an adapter answers without demonstrations; leave --icl or --adapter out."
            )
        if self.context is not None and (self.icl is not None or self.adapter is not None):
            raise InputError(
                f"--context {self.context}: this can't be combined with --icl or --adapter; leave those out."
            )
        if self.icl is None and self.draw != "auto":
            raise InputError(f"--draw {self.draw}: this is for demonstrations; set their number with --icl.")
        if self.icl is not None and self.icl < 2:
            raise InputError(f"--icl {self.icl}: at least 2 demonstrations are needed.")


@dataclass(frozen=True, kw_only=True)
class Predict(Loading):
    """Predict labels or responses of new rows with an adapter.

    Example:
        ia2 predict --adapter my-adapter/adapter "A fine film."
        ia2 predict --adapter my-adapter/adapter --data new.csv --out answered.csv
    """

    usage: ClassVar[str] = "--adapter FOLDER (TEXT ... | --data FILE)"
    texts: tuple[str, ...] = field(default=(), metadata={"positional": True})
    """Texts to answer, or - to read one per line from standard input."""
    adapter: Path
    """Folder of an adapter made by ia2, which records its model, labels, template and scoring."""
    data: Path | None = None
    """Rows to answer instead of texts: a file, a folder written by save_to_disk, or hf:owner/name[:config:split]."""
    text: str | None = None
    """The column of texts (default: the one that the adapter was trained on)."""
    encoding: str | None = None
    """The file's encoding, such as utf-16 or cp1252 (default: detected)."""
    out: Path | None = None
    """File for the rows with their predictions; its suffix sets the format: .csv, .tsv, .json, .jsonl, .parquet or
    .xlsx. It must not exist, or come from an interrupted run of the same command (default: print them)."""
    probabilities: bool = False
    """Add a column with each label's probability."""
    model: str | None = None
    """Use another model than the one that the adapter names."""

    def __post_init__(self) -> None:
        if bool(self.texts) == (self.data is not None):
            raise InputError("Say what to answer: either texts, - for standard input, or --data FILE.")
        if self.data is None and self.text is not None:
            raise FieldError("text", self.text, "this is a column of a file, which --data names.")
        if self.data is None and self.out is not None:
            raise FieldError("out", self.out, "this goes with --data; the answers to texts are printed.")


@dataclass(frozen=True, kw_only=True)
class Export:
    """Export an adapter: as merged weights, as a GGUF file, or to a repository on the hub.

    Example:
        ia2 export my-adapter/adapter --merged merged
        ia2 export my-adapter/adapter --gguf adapter.gguf
    """

    usage: ClassVar[str] = "FOLDER (--merged FOLDER | --gguf FILE | --push OWNER/NAME)"
    adapter: Path = field(metadata={"positional": True})
    """Folder of an adapter in PEFT's format."""
    merged: Path | None = None
    """Folder for the base model with the adapter merged into its weights. It must be new or empty."""
    gguf: Path | None = None
    """File for a LoRA in the format of llama.cpp and Ollama. It must not exist."""
    push: str | None = None
    """A new repository on the hub, OWNER/NAME, to upload the adapter to; the token is read from HF_TOKEN."""
    public: bool = False
    """Make that repository public (default: private)."""
    model: str | None = None
    """The base model, if it isn't where the adapter's folder says."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """dtype of the merged weights (default: float32)."""

    def __post_init__(self) -> None:
        if sum(target is not None for target in (self.merged, self.gguf, self.push)) != 1:
            raise InputError("Say what to export to: one of --merged DIR, --gguf FILE or --push OWNER/NAME.")
        if self.public and self.push is None:
            raise InputError("--public: this is for --push.")
        if self.model is not None and self.push is not None:
            raise InputError(f"--model {self.model}: this is for --merged and --gguf; --push uploads what is there.")
        if self.dtype is not None and self.merged is None:
            raise InputError(f"--dtype {self.dtype}: this is for --merged.")


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Show or prune the cache of downloaded models, teacher targets and trained stages.

    Example:
        ia2 cache
        ia2 cache prune --days 7
    """

    usage: ClassVar[str] = "[list | where | prune]"
    action: Literal["list", "where", "prune"] = field(default="list", metadata={"positional": True})
    """Show each kind of content with its size (list), print the folder (where), or delete what is unused (prune)."""
    days: int | None = None
    """Prune what no command has used for this many days (default: 30); 0 deletes everything. It is made again when
    needed."""

    def __post_init__(self) -> None:
        if self.days is not None and self.action != "prune":
            raise FieldError("days", self.days, "this goes with prune: ia2 cache prune.")
        if self.days is not None and self.days < 0:
            raise FieldError("days", self.days, "this must be 0 or more.")
