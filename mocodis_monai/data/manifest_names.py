"""What the name of a scan says of it, for ``mocodis manifest build``."""

from __future__ import annotations

import re
from pathlib import Path

from mocodis_monai.data.files import stem
from mocodis_monai.data.manifest import MOVED, STILL
from mocodis_monai.errors import InputError

__all__ = ["content_of", "subject_of"]

_WORD = r"(?:head)?(?:moved|moving|motion)\d*"
_BEHIND = r"[-_.]*(?:free|corrected|correction)"
_MOVED = re.compile(rf"(?<![^-_.]){_WORD}(?![^-_.])", re.IGNORECASE)
_STILL = re.compile(
    rf"(?<![^-_.])(?:still\d*|(?:no|not|non|without)[-_.]*{_WORD}(?:{_BEHIND})?|{_WORD}{_BEHIND})(?![^-_.])",
    re.IGNORECASE,
)


def content_of(rest: str) -> dict[str, str]:
    """Content, session and contrast by a name without its subject; an empty one is left out.

    A word for motion means a moved scan, unless it is denied (``no_motion``, ``motion-free``, ``motion_corrected``).
    """
    undenied = _STILL.sub("", rest)
    session = next((token for token in rest.split("_") if token.startswith("ses-")), "")
    tokens = [token for token in undenied.split("_") if token and "-" not in token]
    contrast = "_".join(token for token in tokens if not _MOVED.fullmatch(token))
    found = {"content": MOVED if _MOVED.search(undenied) else STILL}
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
