"""The split pattern: text is cut into pieces that no merge may cross.

Section 2.2: merges across character categories are prevented ("dog." and "dog!" would waste slots), with an exception
for spaces. The pattern below is the released one; its classes are those of Unicode 16.0, pinned in `unicode16.py`.
Text in, pieces out; joined, the pieces are the text. Bytes that are no UTF-8 travel as surrogate escapes
(`bytes.decode("utf-8", "surrogateescape")`) and count, each on its own, as neither letter, number nor space.
"""

import functools
import re

from fourhorn.tokenizer.unicode16 import LETTERS, NUMBERS, WHITE_SPACE

# As published: \p{L} letters, \p{N} numbers, \s white space.
SPLIT_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def split(text: str) -> list[str]:
    """Cut `text` into pieces."""
    return _compiled().findall(text)


def ranges(table: str) -> list[tuple[int, int]]:
    """The inclusive ranges of code points that a table of `unicode16.py` holds."""
    ends = [word.partition("-") for word in table.split()]
    return [(int(first, 16), int(last or first, 16)) for first, _, last in ends]


@functools.cache
def _compiled() -> re.Pattern[str]:
    """SPLIT_PATTERN for Python's own `re`, which knows no \\p{…} and whose \\s holds four characters too many."""
    letter, number, space = (
        "".join(f"{chr(a)}-{chr(b)}" for a, b in ranges(t)) for t in (LETTERS, NUMBERS, WHITE_SPACE)
    )
    return re.compile(
        f"'(?:[stmd]|re|ve|ll)| ?[{letter}]+| ?[{number}]+| ?[^{space}{letter}{number}]+"
        f"|[{space}]+(?![^{space}])|[{space}]+"
    )
