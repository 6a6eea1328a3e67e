"""Cells over several tasks and models, as the paper's Figures 1 and 2 average them."""

from collections.abc import Sequence

from ia2.reports.aggregate import Result, Setting, mean

ALL_TASKS, ALL_MODELS = "all tasks", "all models"


def pooled(cells: Sequence[Result]) -> list[Result]:
    """A cell for each method and N, whose values are the means of the tasks and models that all methods have there.

    Args:
        cells: of one adapter and label source.

    Returns:
        The cells, which have no records and none of the tasks' own names; none where there is one task of one model.
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
        # a method's mean over other tasks couldn't be compared
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
