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
        verdict = "loses some of that accuracy" if high < 0 else "may lose some of that accuracy"
    else:
        verdict = "is even more accurate" if low > 0 else "keeps that accuracy"
    saved = 1 - moved.prompt_tokens / prompted.prompt_tokens
    return (
        f"Without the instruction the model's accuracy is {_percent(without)}; with the instruction in every prompt it "
        f"is {_percent(prompted)}. The adapter {verdict}: {_percent(moved)} ({_apart(difference, low, high)}), at "
        f"{moved.prompt_tokens:.0f} tokens per query instead of {prompted.prompt_tokens:.0f} ({100 * saved:.0f} % "
        "fewer). It was trained without labels."
    )


def labelled_conclusion(measured: Mapping[str, OverSets]) -> str:
    """Return whether IA2→SFT beats SFT in accuracy, and how they compare in ECE and asim.

    Args:
        measured: results of `icl`, `sft` and `ia2-sft`, each with its similarity to in-context learning.
    """
    in_context, tuned, aligned = (measured[method] for method in ("icl", "sft", "ia2-sft"))
    difference, (low, high) = aligned.more_accurate_than(tuned)
    verdict = (
        "IA2→SFT is more accurate than SFT"
        if low > 0
        else "SFT is more accurate than IA2→SFT"
        if high < 0
        else "Neither is significantly more accurate"
    )
    assert aligned.asim is not None, "similarity was measured"
    assert tuned.asim is not None, "of both"
    return (
        f"Accuracy is {_percent(aligned)} for IA2→SFT and {_percent(tuned)} for SFT, at {tuned.prompt_tokens:.0f} "
        f"tokens per query; with the same rows in every prompt (ICL) it is {_percent(in_context)}, at "
        f"{in_context.prompt_tokens:.0f} tokens. {verdict} ({_apart(difference, low, high)}). The ECE is "
        f"{aligned.ece:.3f} for IA2→SFT and {tuned.ece:.3f} for SFT. IA2→SFT's attention outputs are "
        f"{'more' if aligned.asim > tuned.asim else 'no more'} similar to in-context learning than SFT's (asim "
        f"{aligned.asim:.2f} against {tuned.asim:.2f})."
    )


def _percent(method: OverSets) -> str:
    return f"{100 * method.accuracy:.1f} %"


def _apart(difference: float, low: float, high: float) -> str:
    """Format a difference of accuracies and its interval, in points."""
    return f"difference {100 * difference:+.1f}, 95 % CI {100 * low:+.1f} to {100 * high:+.1f}"
