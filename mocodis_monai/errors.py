"""The one exception for what a user can mend. Imports nothing, so that every module may use it."""

__all__ = ["InputError"]


class InputError(ValueError):
    """A file, folder or option of the user's is unfit.

    The message names the file or argument, says what is wrong with it, what is allowed and what to do.
    The ``mocodis`` command prints it as one line, ``error: ...``, and exits with status 1.
    """
