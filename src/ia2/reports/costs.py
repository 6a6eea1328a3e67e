"""What each method took and how near it came to in-context learning: asim, steps and seconds, a row for each."""

from collections.abc import Mapping, Sequence

from ia2.reports.aggregate import Cell, mean
from ia2.reports.listing import Column, Listing, without_empty_columns
from ia2.reports.tables import METHOD_NAMES

COLUMNS = (
    *(Column("adapter"), Column("labels"), Column("N", "d"), Column("source"), Column("eval"), Column("method")),
    *(Column("acc %", ".1f"), Column("ECE", ".2f"), Column("asim", ".3f"), Column("steps", ".0f")),
    *(Column("train s", ".1f"), Column("evaluate s", ".1f"), Column("lr", "g"), Column("β", "g")),
)


def costs(cells: Sequence[Cell]) -> list[Listing]:
    """A listing for each model, of every method in every setting, at its best learning rate and β.

    Args:
        cells: what was measured.
    """
    order = list(METHOD_NAMES)
    found = []
    for model in dict.fromkeys(cell.setting.model for cell in cells):
        own = [cell for cell in cells if cell.setting.model == model]
        own.sort(key=lambda c: (c.setting, order.index(c.method) if c.method in order else len(order), c.method))
        listing = Listing(
            f"{model}: likeness and cost",
            "Means over sets. asim is the similarity to in-context learning on the source task; steps are an adapter's "
            "optimiser steps in all its stages; seconds are its share of the time that those trained or measured "
            "together took, the teacher's pass not counted.",
            COLUMNS,
            tuple(
                (
                    *(cell.setting.adapter, cell.setting.label_source, cell.setting.n),
                    *(cell.setting.source, cell.setting.eval, METHOD_NAMES.get(cell.method, cell.method)),
                    *(mean([100 * value for value in cell.accuracy]), mean(cell.ece)),
                    *(mean(values) for values in cost(cell).values()),
                    *(cell.lr, cell.beta),
                )
                for cell in own
            ),
        )
        found.append(without_empty_columns(listing, ("labels", "ECE", "asim", "β", "eval", "source")))
    return found


def cost(cell: Cell) -> Mapping[str, Sequence[float]]:
    """asim, optimiser steps in all stages, and seconds of training and evaluation: a value for each set that has one.

    Args:
        cell: what was measured.
    """
    found: dict[str, list[float]] = {"steps": [], "train_seconds": [], "evaluate_seconds": []}
    for record in cell.records:
        if record.stages:
            found["steps"].append(float(sum(stage.steps for stage in record.stages)))
        for phase, seconds in record.seconds.items():
            if (name := f"{phase}_seconds") in found:
                found[name].append(float(seconds))
    return {"asim": cell.asim, **found}
