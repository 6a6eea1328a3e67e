"""`make architectures`: every kind of text decoder that transformers knows, from end to end, written to docs/models.md.

Each kind runs in a process of its own with a limit of time, so that one that crashes or hangs is a row like the others.
Names given as arguments are tried alone, and nothing is written; with `--write` before them, their rows of the page are
written anew and the others are left as they are.
"""

import multiprocessing
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import torch
import transformers

from benchmarks.architecture_trial import Outcome, trial
from benchmarks.shrunken import causal_kinds, wrapped_kinds
from ia2.cache import written_whole

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
LIMIT = 120
"""Seconds for each kind."""
AT_ONCE = 2
LONGEST_REASON = 240
STATES = {"refused": "refusal", "fails": "failure", "not built": "unbuilt"}
"""What the table calls a kind that doesn't work, by the field that says why."""

HEAD = """# Models

This page is written by `make architectures`. It builds a tiny random network of each of the {count} kinds that
transformers {version} knows as a causal language model, or as a multimodal wrapper of one, and tests it end to
end: loading, the teacher, IA2→SFT, evaluation with the adapter and in context, decoding, saving, and reloading with
PEFT, which must give the same logits. In wrappers, the text decoder is read and adapted.

**{works} of {built} kinds that could be built work**: {packed} with packed rows, {padded} with padded ones.

- **packed**: several texts share a row, and their common prefix is read once. This is the fastest.
- **padded**: each text has its own row. This is used for networks with ALiBi, with recurrent layers, or with their own
  attention masks. The common prefix is still read once, and each row gets a copy of the state after it.
- **padded, by position**: the same, and the network is given the position of each token after the prefix.
- **padded, from the start**: the same, but demonstrations are read again for each query.
- **padded, without a cache**: the same, and a generated text is read again for each of its tokens.

`ia2` detects the mode when it loads a model, by comparing with each text read alone, and prints it. The last column
lists the modules in a layer that LoRA adapts by default. If W_Q, W_K and W_V are a single module, or a layer has a
recurrent state instead of attention, the module in their place is listed.
"""


WRITE = "--write"


def main(arguments: Sequence[str]) -> None:
    """Try kinds, and write the page where all are tried or it is asked for."""
    names = [argument for argument in arguments if argument != WRITE]
    outcomes = []
    for outcome in outcomes_of(names or causal_kinds() + wrapped_kinds()):
        outcomes.append(outcome)
        print(row_of(outcome), flush=True)
    if names and WRITE in arguments:
        outcomes = merged(outcomes_on(PAGE.read_text(encoding="utf-8")), outcomes)
    if not names or WRITE in arguments:
        with written_whole(PAGE) as partial:
            partial.write_text(page_of(outcomes), encoding="utf-8")


def merged(before: Sequence[Outcome], anew: Sequence[Outcome]) -> list[Outcome]:
    """Outcomes of a page, some of them anew, in the order in which all are tried."""
    by_kind = {outcome.kind: outcome for outcome in (*before, *anew)}
    return [by_kind[kind] for kind in causal_kinds() + wrapped_kinds() if kind in by_kind]


def outcomes_of(kinds: Sequence[str], limit: float = LIMIT) -> Iterator[Outcome]:
    """How each kind fares, in a process of its own, two at once.

    Args:
        kinds: as transformers calls them.
        limit: seconds for each.
    """
    context = multiprocessing.get_context("forkserver")
    # what takes long to import is imported once
    context.set_forkserver_preload(["benchmarks.architecture_trial"])
    with ThreadPoolExecutor(AT_ONCE) as waiting:
        yield from waiting.map(lambda kind: _outcome(context, kind, limit), kinds)


def _outcome(context: ForkServerContext, kind: str, limit: float) -> Outcome:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(kind, sender))
    process.start()
    sender.close()
    try:
        if receiver.poll(limit):
            return receiver.recv()
        return Outcome(kind, failure=f"no end after {limit:g} seconds")
    except EOFError:
        process.join()
        return Outcome(kind, failure=f"its process ended with code {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _report(kind: str, sender: Connection) -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sender.send(trial(kind))


def row_of(outcome: Outcome) -> str:
    """A row of the table: kind, what came out, and the adapted modules or the reason."""
    reason = outcome.refusal or outcome.failure or outcome.unbuilt
    if reason is None:
        return f"| {outcome.kind} | {outcome.rows} | {', '.join(f'`{name}`' for name in outcome.modules)} |"
    state = next(state for state, field in STATES.items() if getattr(outcome, field) is not None)
    shown = reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1] + "…"
    # what angle brackets and bars would do to a table
    escaped = shown.replace("|", "\\|").replace("<", "&lt;")
    return f"| {outcome.kind} | {state} | {escaped} |"


def outcomes_on(page: str) -> list[Outcome]:
    """The outcomes that a page lists, in its order.

    Args:
        page: what `page_of` gave.

    Raises:
        ValueError: another version of transformers gave it, so that all kinds are to be tried again.
    """
    if f"transformers {transformers.__version__} knows" not in page:
        raise ValueError(f"{PAGE.name} is of another version of transformers than {transformers.__version__}: try all")
    outcomes = []
    for line in page.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) != 3 or cells[0] in ("kind", "---"):
            continue
        kind, state, last = cells
        last = last.replace("&lt;", "<")
        if (field := STATES.get(state)) is not None:
            outcomes.append(Outcome(kind, **{field: last}))
        else:
            outcomes.append(Outcome(kind, state, re.findall("`([^`]*)`", last)))
    return outcomes


def page_of(outcomes: Sequence[Outcome]) -> str:
    """The whole page: counts, what works, and what doesn't and why."""
    working = [outcome for outcome in outcomes if outcome.works]
    packed = sum(outcome.rows == "packed" for outcome in working)
    head = HEAD.format(
        count=len(outcomes),
        version=transformers.__version__,
        works=len(working),
        built=sum(outcome.unbuilt is None for outcome in outcomes),
        packed=packed,
        padded=len(working) - packed,
    )
    others = [outcome for outcome in outcomes if not outcome.works]
    tables = [
        ("What works", "| kind | rows | adapted modules |", working),
        ("What doesn't, and why", "| kind | state | reason |", others),
    ]
    parts = [head]
    for title, columns, chosen in tables:
        rows = "\n".join(row_of(outcome) for outcome in chosen)
        parts.append(f"## {title}\n\n{columns}\n| --- | --- | --- |\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    main(sys.argv[1:])
