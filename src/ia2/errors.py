"""What is said to the person: a wrong input, told in one sentence that names the input and what to do."""


class InputError(ValueError):
    """An input that can't be used: the input first, then what was found, then what to do (exit status 2)."""
