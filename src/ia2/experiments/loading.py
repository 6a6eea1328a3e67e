"""Loading of a study's models: the student, and the teacher that adapters are trained against."""

from ia2.errors import InputError
from ia2.experiments.schema import Experiment
from ia2.models.load import LanguageModel, load_model
from ia2.progress import SILENT, Progress


def load_for(experiment: Experiment, name: str, *, progress: Progress = SILENT) -> LanguageModel:
    """Load a model with a study's settings.

    Args:
        experiment: the study.
        name: the model, as `load_model` takes it.
        progress: receives messages about slow steps and choices made.

    Raises:
        InputError: as `load_model`.
    """
    return load_model(
        name,
        dtype=experiment.dtype,
        device=experiment.device,
        load=experiment.load,
        attention=experiment.attention,
        progress=progress,
    )


def teacher_for(experiment: Experiment, model: LanguageModel, *, progress: Progress = SILENT) -> LanguageModel:
    """Return the teacher: the student itself, unless the study sets another `teacher_dtype`.

    They are the same model by default, so that an adapter is compared with the teacher it was trained against.

    Args:
        experiment: the study.
        model: the student, without an adapter.
        progress: receives messages on how the teacher was loaded and who is measured in context.

    Raises:
        InputError: the student was built in Python and can't be loaded again; or as `load_model`.
    """
    dtype = experiment.teacher_dtype
    if dtype is None or (dtype == model.identity.dtype and model.identity.quantisation is None):
        return model
    if model.name is None:
        raise InputError(
            f"{model.identity.id}: a teacher in {dtype} can't be loaded of a model that was built in Python. Leave "
            "teacher_dtype out."
        )
    teacher = load_model(
        model.name, dtype=dtype, device=experiment.device, attention=experiment.attention, progress=progress
    )
    progress.say(teacher_note(experiment, model) or "")
    return teacher


def teacher_note(experiment: Experiment, model: LanguageModel) -> str | None:
    """Return a record's note on a teacher that differs from the student; None if they are the same."""
    dtype, identity = experiment.teacher_dtype, model.identity
    if dtype is None or (dtype == identity.dtype and identity.quantisation is None):
        return None
    student = identity.quantisation or identity.dtype
    return (
        f"The teacher answers in {dtype}, and adapters and in-context learning are measured in {student}: adapters are "
        "compared with a different teacher from the one they were trained on."
    )
