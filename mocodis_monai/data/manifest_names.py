"""What the name of a scan says of it, for ``mocodis manifest build``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from mocodis_monai.data.files import stem
from mocodis_monai.data.manifest import MOVED, STILL
from mocodis_monai.errors import InputError

__all__ = ["alike", "content_of", "plain", "subject_of"]

_WORD = r"(?:head)?(?:moved|moving|motion)\d*"
_BEHIND = r"[-_.]*(?:free|corrected|correction)"
_MOVED = re.compile(rf"(?<![^-_.]){_WORD}(?![^-_.])", re.IGNORECASE)
_STILL = re.compile(
    rf"(?<![^-_.])(?:still\d*|(?:no|not|non|without)[-_.]*{_WORD}(?:{_BEHIND})?|{_WORD}{_BEHIND})(?![^-_.])",
    re.IGNORECASE,
)
_GLUED = re.compile(r"(?<=\d)(?:still|moved|moving)\d*(?![^-_.])", re.IGNORECASE)
_CONTRAST = re.compile(r"(?:[-.](?:(?:T[12]|PD)w?|T2starw?|T1(?:c|ce|gd)|FLAIR|SWI|MRA|DWI|MPRAGE))+$", re.IGNORECASE)


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
    """The subject, and the rest of the name.

    ``pattern`` None takes the name up to the first underscore, without words of content (``p0-moved``) and without a
    contrast at its end (``p0-T1``): these go to the rest.

    Raises:
        InputError: the pattern is none, or finds nothing.
    """
    name = stem(file)
    if pattern is None:
        return _parted(name)
    try:
        found = re.search(pattern, name)
    except re.error as error:
        raise InputError(f"--subject {pattern!r}: no regular expression ({error}). Correct it.") from error
    subject = "" if found is None else found.group(1 if found.re.groups else 0) or ""
    if found is None or not subject:
        raise InputError(f"{file}: --subject {pattern!r} finds no subject in this name. Correct it, or move the file.")
    return subject, f"{name[: found.start()]}_{name[found.end() :]}"


def plain(subject: str) -> str:
    """A subject's name without words of content and without a contrast at its end."""
    return _parted(subject)[0]


def alike(subjects: Iterable[str]) -> list[list[str]]:
    """Subjects that differ by words of content or by a contrast alone: most likely one person each."""
    found: dict[str, list[str]] = defaultdict(list)
    for subject in sorted(set(subjects)):
        found[plain(subject)].append(subject)
    return [names for names in found.values() if len(names) > 1]


def _parted(name: str) -> tuple[str, str]:
    """The subject that stands first in a name, and the rest."""
    first, _, rest = name.partition("_")
    if not first:
        return name, rest
    label = re.match(r"sub-[^-_.]+", first)  # as BIDS writes it; any word may be one
    start = label.end() if label else 0
    spans = [(max(begin, start), min(end, len(first))) for begin, end in _words(name)]
    spans = [(begin, end) for begin, end in spans if begin < end]
    edges = [0, *(edge for span in spans for edge in span), len(first)]
    pieces = [first[begin:end].strip("-. ") for begin, end in zip(edges[::2], edges[1::2])]
    subject = "-".join(filter(None, pieces)) if spans else first
    cut = [first[begin:end] for begin, end in spans]
    contrast = _CONTRAST.search(subject, start)
    if contrast and contrast.start() > 0:  # before the words, which may be denied by what follows
        subject, cut = subject[: contrast.start()], [re.sub("[-.]", "_", contrast.group()[1:]), *cut]
    if subject:
        return subject, "_".join([*cut, rest] if rest else cut)
    # Nothing but such words: a number tells people apart; without one it is no name, and says the content.
    return first, rest if re.search(r"\d", first) else name


def _words(name: str) -> list[tuple[int, int]]:
    """Where the words of content stand in a name; a denied one is one with what denies it."""
    undenied = _STILL.sub(lambda found: "\0" * len(found.group()), name)
    of_all = [*_STILL.finditer(name), *_MOVED.finditer(undenied), *_GLUED.finditer(name)]
    return sorted(found.span() for found in of_all)
