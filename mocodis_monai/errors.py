"""What a user can mend, and how it is said. Imports nothing, so that every module may use it."""

__all__ = ["InputError", "NotAScanError", "printable"]


class InputError(ValueError):
    """A file, folder or option of the user's is unfit.

    The message names the file or argument, says what is wrong with it, what is allowed and what to do.
    The ``mocodis`` command prints it as one line, ``error: ...``, and exits with status 1.
    """


class NotAScanError(InputError):
    """A sound file or series of a kind that is not corrected: a localizer, a map, a mask.

    Most studies hold some, so in a folder of many it is no failure.

    Attributes:
        kind: what it is, in a few words, by which many can be counted.
    """

    def __init__(self, message: str, kind: str = "another kind") -> None:  # torch's workers know the message alone
        super().__init__(message, kind)
        self.kind = kind

    def __str__(self) -> str:
        return str(self.args[0])


def printable(text: str) -> str:
    """On one line and without what would steer the terminal, whatever the name of a file in it holds."""
    return "".join(c if c.isprintable() else "?" for c in text)
