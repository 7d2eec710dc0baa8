"""The one class a user's mistake raises, and the nearest known word for a mistyped one.

A `UserError` says in one or two sentences what is wrong, the value, the right form and what to do next. The command
line prints it without a traceback and exits with code 2; anything else that escapes is a defect of fourhorn.
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: its text is the whole message."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None when nothing is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown(what: str, word: str, known: Iterable[str]) -> UserError:
    """The error for a word outside a closed set, naming the nearest member and all of them."""
    known = list(known)
    close = nearest(word, known)
    hint = f" Did you mean {close!r}?" if close else ""
    return UserError(f"There is no {what} {word!r}.{hint} Known: {', '.join(known)}.")
