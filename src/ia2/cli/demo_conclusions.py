"""Conclusions of the demo's two parts, in sentences generated from the numbers."""

from collections.abc import Mapping

from ia2.reports.over_sets import OverSets


def instruction_conclusion(measured: Mapping[str, OverSets]) -> str:
    """Return whether the adapter keeps the instruction's gain in accuracy, and how many tokens it saves.

    Args:
        measured: results of `zero-shot`, `context` and `ia2`.
    """
    without, prompted, moved = (measured[method] for method in ("zero-shot", "context", "ia2"))
    difference, (low, high) = moved.more_accurate_than(prompted)
    if low < 0:
        verdict = "loses some of it" if high < 0 else "may lose some of it"
    else:
        verdict = "does better still" if low > 0 else "keeps it"
    saved = 1 - moved.prompt_tokens / prompted.prompt_tokens
    return (
        f"The model is right on {_percent(without)} of the reviews without the instruction and on "
        f"{_percent(prompted)} with it in every prompt. The adapter {verdict}: {_percent(moved)} "
        f"({_apart(difference, low, high)}), and a query has {moved.prompt_tokens:.0f} tokens instead of "
        f"{prompted.prompt_tokens:.0f}, {100 * saved:.0f} % fewer. No label was trained on."
    )


def labelled_conclusion(measured: Mapping[str, OverSets]) -> str:
    """Return whether IA2→SFT beats SFT in accuracy, and how they compare in ECE and asim.

    Args:
        measured: results of `icl`, `sft` and `ia2-sft`, each with its similarity to in-context learning.
    """
    in_context, tuned, aligned = (measured[method] for method in ("icl", "sft", "ia2-sft"))
    difference, (low, high) = aligned.more_accurate_than(tuned)
    verdict = (
        "IA2→SFT beats SFT" if low > 0 else "SFT beats IA2→SFT" if high < 0 else "these sets can't tell them apart"
    )
    assert aligned.asim is not None, "similarity was measured"
    assert tuned.asim is not None, "of both"
    return (
        f"IA2→SFT is right on {_percent(aligned)} and SFT on {_percent(tuned)}, at {tuned.prompt_tokens:.0f} tokens a "
        f"query; with the same rows in every prompt (ICL) the model is right on {_percent(in_context)}, at "
        f"{in_context.prompt_tokens:.0f}. In accuracy {verdict} ({_apart(difference, low, high)}). The ECE of IA2→SFT "
        f"is {aligned.ece:.3f}, that of SFT {tuned.ece:.3f}. IA2→SFT works "
        f"{'more' if aligned.asim > tuned.asim else 'no more'} like the model in context than SFT does (asim "
        f"{aligned.asim:.2f} against {tuned.asim:.2f})."
    )


def _percent(method: OverSets) -> str:
    return f"{100 * method.accuracy:.1f} %"


def _apart(difference: float, low: float, high: float) -> str:
    """Format a difference of accuracies and its interval, in points."""
    return f"difference {100 * difference:+.1f}, 95 % from {100 * low:+.1f} to {100 * high:+.1f}"
