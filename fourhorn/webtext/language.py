"""Which language a text is in, and how much of it: Google's CLD2 on three samples of the text.

WebText is meant to be English (§2.1, §3.7: 10 MB of French in 40 GB). CLD2 (pycld2, Apache-2.0, its model inside the
package) says for each language what share of the letters it read are in it; that share is the threshold's unit, so a
page that is half English is told from an English one. Beginning, middle and end are sampled: menus at the top of a
page would otherwise decide alone, and time does not grow with length. Measured in benchmarks/webtext_language.py.
"""

import re
from functools import cache
from typing import Any

from fourhorn.errors import UserError

SAMPLE_CHARS = 600
UNKNOWN = "un"
# What CLD2 refuses: control characters and what is no character at all (lone surrogates, non-characters).
_REFUSED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\ufff9-\uffff]")


def language_of(text: str) -> tuple[str, float]:
    """The most frequent language of a text as an ISO 639-1 code (`un` for unknown), and its share from 0 to 1."""
    sample = _REFUSED.sub(" ", sample_of(text)).encode("utf-8", errors="replace")
    pycld2 = _pycld2()
    try:
        _, _, details = pycld2.detect(sample, bestEffort=True)
    except pycld2.error:
        return UNKNOWN, 0.0
    _, code, percent, _ = details[0]
    return code, percent / 100


def sample_of(text: str) -> str:
    """The beginning, middle and end of a long text, or all of a short one."""
    if len(text) <= 3 * SAMPLE_CHARS:
        return text
    middle = (len(text) - SAMPLE_CHARS) // 2
    return "\n".join((text[:SAMPLE_CHARS], text[middle : middle + SAMPLE_CHARS], text[-SAMPLE_CHARS:]))


def check_language(code: str) -> None:
    """Raise a `UserError` for a code that no text is ever found to be in."""
    if code not in {known for _, known in _pycld2().LANGUAGES}:
        raise UserError(f"There is no language {code!r}. Give an ISO 639-1 code, as en, fr or zh, or `any`.")


@cache
def _pycld2() -> Any:
    try:
        import pycld2
    except ImportError:
        raise UserError("Language identification needs pycld2: pip install 'fourhorn[webtext]'.") from None
    return pycld2
