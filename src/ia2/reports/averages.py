"""Averages results over tasks and models, as in the paper's Figures 1 and 2."""

from collections.abc import Sequence

from ia2.reports.aggregate import Result, Setting, mean

ALL_TASKS, ALL_MODELS = "all tasks", "all models"


def pooled(cells: Sequence[Result]) -> list[Result]:
    """Return one result per method and N, averaged over the tasks and models that all methods share.

    Args:
        cells: results with the same adapter and label source.

    Returns:
        The averages, without records and task names; empty for a single task of a single model.
    """
    settings_averaged = {_model_and_tasks(cell) for cell in cells}
    if len(settings_averaged) < 2:
        return []
    models = {cell.setting.model for cell in cells}
    model = ALL_MODELS if len(models) > 1 else next(iter(models))
    averages = []
    for n in sorted({cell.setting.n for cell in cells}):
        of_method: dict[str, dict[tuple[str, str, str], Result]] = {}
        for cell in cells:
            if cell.setting.n == n:
                of_method.setdefault(cell.method, {})[_model_and_tasks(cell)] = cell
        # means over different tasks can't be compared
        shared = set.intersection(*(set(by_model_and_tasks) for by_model_and_tasks in of_method.values()))
        for method, method_cells in of_method.items():
            shared_cells = [method_cells[key] for key in sorted(shared)]
            accuracy, ece, asim = (
                tuple(value for cell in shared_cells if (value := mean(getattr(cell, measure))) is not None)
                for measure in ("accuracy", "ece", "asim")
            )
            first = cells[0].setting
            setting = Setting(model, first.adapter, first.label_source, n, ALL_TASKS, ALL_TASKS)
            averages += [Result(setting, method, accuracy, ece, asim, None, None, ())] * bool(shared_cells)
    return averages


def _model_and_tasks(cell: Result) -> tuple[str, str, str]:
    return cell.setting.model, cell.setting.source, cell.setting.eval
