"""What the name of a scan says of it, for ``mocodis manifest build``."""

from __future__ import annotations

import re
from pathlib import Path

from mocodis_monai.data.manifest import MOVED, STILL
from mocodis_monai.data.nifti import stem
from mocodis_monai.errors import InputError

__all__ = ["content_of", "subject_of"]

_MOVED_WORD = re.compile(r"(head)?(moved|moving|motion)\d*", re.IGNORECASE)
_STILL_WORD = re.compile(r"still\d*", re.IGNORECASE)


def content_of(rest: str) -> dict[str, str]:
    """Content, session and contrast by a name without its subject; an empty one is left out."""
    tokens = [token for token in rest.split("_") if token]
    words = re.split(r"[-_.]", rest)
    marks = [token for token in tokens if _MOVED_WORD.fullmatch(token) or _STILL_WORD.fullmatch(token)]
    session = next((token for token in tokens if token.startswith("ses-")), "")
    contrast = "_".join(token for token in tokens if "-" not in token and token not in marks)
    found = {"content": MOVED if any(map(_MOVED_WORD.fullmatch, words)) else STILL}
    return found | {key: value for key, value in (("session", session), ("contrast", contrast)) if value}


def subject_of(file: Path, pattern: str | None) -> tuple[str, str]:
    """The subject, and the rest of the name; ``pattern`` None takes the name up to the first underscore.

    Raises:
        InputError: the pattern is none, or finds nothing.
    """
    name = stem(file)
    if pattern is None:
        subject, _, rest = name.partition("_")
        return subject or name, rest
    try:
        found = re.search(pattern, name)
    except re.error as error:
        raise InputError(f"--subject {pattern!r}: no regular expression ({error}). Correct it.") from error
    subject = "" if found is None else found.group(1 if found.re.groups else 0) or ""
    if found is None or not subject:
        raise InputError(f"{file}: --subject {pattern!r} finds no subject in this name. Correct it, or move the file.")
    return subject, f"{name[: found.start()]}_{name[found.end() :]}"
