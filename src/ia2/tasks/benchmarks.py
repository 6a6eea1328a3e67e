"""The paper's twelve benchmarks: where to load each from, and how its rows become queries and responses."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ia2.randomness import generator
from ia2.tasks.benchmark import Benchmark, BenchmarkOptions, Row
from ia2.tasks.task import Example

REMAPPED = ("apple", "Friday", "banana", "Saturday", "Thursday", "Sunday", "Wednesday", "Monday")
"""The words that stand for choices 0 to 7 (appendix A)."""
FEELINGS = MappingProxyType({"0": " negative", "1": " positive"})
TRUTH = MappingProxyType({"0": " false", "1": " true"})
TOPICS = MappingProxyType({"0": " world", "1": " sports", "2": " business", "3": " technology"})
"""Words for numeric labels. They are this project's; the paper has none."""
STOP = "\n\n"
"""String that ends a generated response (PROTOCOL, Evaluation)."""


def _text(text: str, response: str) -> Example:
    return Example(f"Text:{text}\nLabel:", response)


def _question(question: str, response: str) -> Example:
    return Example(f"Question:{question}\nAnswer:", response)


def _sst2(row: Row, _: BenchmarkOptions) -> Example:
    return _text(row["sentence"], str(row["label"]))


def _finsen(row: Row, _: BenchmarkOptions) -> Example | None:
    # the hub's label 1 is neutral
    return _text(row["sentence"], {0: "0", 2: "1"}[row["label"]]) if row["label"] != 1 else None


def _poems(row: Row, _: BenchmarkOptions) -> Example | None:
    # the hub's labels 2 and 3 are "no impact" and "mixed"
    response = {0: "0", 1: "1", 2: None, 3: None}[row["label"]]
    return _text(row["verse_text"], response) if response else None


def _strategytf(row: Row, _: BenchmarkOptions) -> Example:
    return _question(row["question"], str(int(row["answer"])))


def _agnews(row: Row, _: BenchmarkOptions) -> Example:
    return _text(row["text"], str(row["label"]))


def _bbcnews(row: Row, options: BenchmarkOptions) -> Example:
    text, limit = row["text"], options.text_limit
    if limit is not None and len(text) > limit:
        text = text[:limit].rpartition(" ")[0]
    # BBC's tech, business, sport, entertainment and politics map to agnews' World, Sports, Business and Sci/Tech
    return _text(text, {0: "3", 1: "2", 2: "1", 3: "0", 4: "0"}[row["label"]])


def _multiple_choice(question: str, choices: Sequence[str], right: int, options: BenchmarkOptions) -> Example:
    order = list(range(len(choices)))
    generator(0, f"choices of {question}").shuffle(order)
    # concatenated, because an f-string would accept a choice that isn't text
    listed = "\n".join("[" + REMAPPED[position] + "]" + choices[index] for position, index in enumerate(order))
    gap = "\n\n" if options.blank_line_before_answer else "\n"
    return Example(f"Question:{question}\nChoices:\n{listed}{gap}Answer:", REMAPPED[order.index(right)])


def _sciq_remap(row: Row, options: BenchmarkOptions) -> Example:
    choices = [row["correct_answer"], row["distractor1"], row["distractor2"], row["distractor3"]]
    return _multiple_choice(row["question"], choices, 0, options)


def _qasc_remap(row: Row, options: BenchmarkOptions) -> Example:
    choices = row["choices"]
    return _multiple_choice(row["question"], choices["text"], choices["label"].index(row["answerKey"]), options)


def _gsm8k(row: Row, _: BenchmarkOptions) -> Example:
    return _question(row["question"], row["answer"])


def _hmath(row: Row, options: BenchmarkOptions) -> Example:
    solution = row["solution"]
    if options.blank_lines == "single":
        solution = re.sub(r"\n\s*\n", "\n", solution)
    return _question(row["problem"], solution)


def _sciq(row: Row, options: BenchmarkOptions) -> Example | None:
    if not row["support"] and not options.keep_empty_support:
        return None
    return _question(row["question"], f"{row['support']}\n#### {row['correct_answer']}")


_ALL = (
    Benchmark(
        name="sst2",
        paper_name="SST2",
        description="is a phrase from a film review negative (0) or positive (1)?",
        hub="stanfordnlp/sst2",
        folder="sst2",
        columns={"sentence": str, "label": int},
        example=_sst2,
        asks_of_texts=True,
        labels=("0", "1"),
        words=FEELINGS,
        evaluation=("validation",),  # the labels of the test split are not public
        options=frozenset({"label_words"}),
    ),
    Benchmark(
        name="finsen",
        paper_name="FinS",
        description="is a sentence of financial news negative (0) or positive (1)?",
        hub="takala/financial_phrasebank",
        hub_folder="sentences_50agree",
        revision="refs/convert/parquet",
        folder="financial_phrasebank",
        columns={"sentence": str, "label": int},
        example=_finsen,
        asks_of_texts=True,
        labels=("0", "1"),
        words=FEELINGS,
        evaluation=(),
        options=frozenset({"label_words"}),
    ),
    Benchmark(
        name="poems",
        paper_name="PoemS",
        description="is a verse negative (0) or positive (1)?",
        hub="google-research-datasets/poem_sentiment",
        folder="poem_sentiment",
        columns={"verse_text": str, "label": int},
        example=_poems,
        asks_of_texts=True,
        labels=("0", "1"),
        words=FEELINGS,
        train=(),
        evaluation=("train", "validation", "test"),
        evaluation_only=True,
        all_local_files=True,
        options=frozenset({"label_words", "poems_rows"}),
    ),
    Benchmark(
        name="strategytf",
        paper_name="STF",
        description="is the answer to a question of many steps false (0) or true (1)?",
        hub="ChilleD/StrategyQA",
        folder="strategyqa",
        columns={"question": str, "answer": bool},
        example=_strategytf,
        labels=("0", "1"),
        words=TRUTH,
        options=frozenset({"label_words"}),
    ),
    Benchmark(
        name="agnews",
        paper_name="AGN",
        description="is an article on the world (0), sports (1), business (2), or science and technology (3)?",
        hub="fancyzhx/ag_news",
        folder="ag_news",
        columns={"text": str, "label": int},
        example=_agnews,
        asks_of_texts=True,
        labels=("0", "1", "2", "3"),
        words=TOPICS,
        options=frozenset({"label_words"}),
    ),
    Benchmark(
        name="bbcnews",
        paper_name="BBCN",
        description="the same of BBC articles",
        hub="SetFit/bbc-news",
        folder="bbc_news",
        columns={"text": str, "label": int},
        example=_bbcnews,
        asks_of_texts=True,
        labels=("0", "1", "2", "3"),
        words=TOPICS,
        train=(),
        evaluation_only=True,
        options=frozenset({"label_words", "text_limit"}),
    ),
    Benchmark(
        name="sciq_remap",
        paper_name="SciQr",
        description="which of four answers to a science question is right? choices are named by unrelated words",
        hub="allenai/sciq",
        folder="sciq",
        columns=dict.fromkeys(("question", "correct_answer", "distractor1", "distractor2", "distractor3"), str),
        example=_sciq_remap,
        labels=REMAPPED[:4],
        options=frozenset({"blank_line_before_answer", "sciq_rows"}),
    ),
    Benchmark(
        name="qasc_remap",
        paper_name="QASCr",
        description="the same of eight answers",
        hub="allenai/qasc",
        folder="qasc",
        columns={"question": str, "choices": dict, "answerKey": str},
        example=_qasc_remap,
        labels=REMAPPED,
        train=(),
        evaluation=("validation",),  # the test split has no answers
        evaluation_only=True,
        options=frozenset({"blank_line_before_answer"}),
    ),
    Benchmark(
        name="gsm8k",
        paper_name="GSM8K",
        description="solve a problem of grade-school mathematics in words, ending in #### and the number",
        hub="openai/gsm8k",
        config="main",
        folder="gsm8k",
        columns={"question": str, "answer": str},
        example=_gsm8k,
        answer="number",
        max_new_tokens=200,
        options=frozenset({"answers"}),
    ),
    Benchmark(
        name="gsm8k_symbolic",
        paper_name="GSM8Ks",
        description="the same with names and numbers replaced",
        hub="apple/GSM-Symbolic",
        config="main",
        folder="gsm_symbolic",
        columns={"question": str, "answer": str},
        example=_gsm8k,
        answer="number",
        train=(),
        evaluation_only=True,
        max_new_tokens=200,
        options=frozenset({"answers"}),
    ),
    Benchmark(
        name="hmath_algebra",
        paper_name="HMathA",
        description="solve an algebra problem of a mathematics contest, the answer in \\boxed{}",
        hub="EleutherAI/hendrycks_math",
        config="algebra",
        folder="hendrycks_math_algebra",
        columns={"problem": str, "solution": str},
        example=_hmath,
        answer="boxed",
        max_new_tokens=400,
        teacher_tokens=200,
        options=frozenset({"answers", "blank_lines"}),
    ),
    Benchmark(
        name="sciq",
        paper_name="SciQ",
        description="answer a science question with an explanation, ending in #### and the answer",
        hub="allenai/sciq",
        folder="sciq",
        columns={"question": str, "support": str, "correct_answer": str},
        example=_sciq,
        answer="marked",
        max_new_tokens=200,
        options=frozenset({"answers", "keep_empty_support", "sciq_rows"}),
    ),
)

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({benchmark.name: benchmark for benchmark in _ALL})
