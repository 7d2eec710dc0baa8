"""Write `fourhorn/tokenizer/unicode16.py`: which characters are letters, numbers and white space in Unicode 16.0.

    python scripts/unicode_table.py

Needs the character database of exactly Unicode 16.0: Python 3.14's own `unicodedata`, or the package `unicodedata2`
in version 16.0.0. White space is the property White_Space, which no later version of Unicode may change.
"""

import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

VERSION = "16.0.0"
DESTINATION = Path(__file__).parent.parent / "fourhorn" / "tokenizer" / "unicode16.py"
WHITE_SPACE = {
    *range(0x09, 0x0E),
    0x20,
    0x85,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
}

HEADER = '''"""The letters, numbers and white space of Unicode 16.0: written by scripts/unicode_table.py, never by hand.

Section 2.2: the split pattern asks of every character whether it is a letter, a number or white space. Python's own
tables grow with its version, and ids that depend on the version of Python would be a defect, so they are pinned here.
Each table holds inclusive ranges as hexadecimal numbers: `first-last`, or one number for a single character.
"""

'''


def database() -> Any:
    """A `unicodedata` module of Unicode 16.0, or the end of the program."""
    if unicodedata.unidata_version == VERSION:
        return unicodedata
    try:
        import unicodedata2
    except ImportError:
        unicodedata2 = None
    if unicodedata2 is None or unicodedata2.unidata_version != VERSION:
        sys.exit("This needs Python 3.14 or: pip install unicodedata2==16.0.0")
    return unicodedata2


def ranges(holds: Callable[[int], bool]) -> list[str]:
    """The inclusive ranges of code points for which `holds` is true, as hexadecimal text."""
    found: list[tuple[int, int]] = []
    for point in range(0x110000):
        if holds(point):
            if found and found[-1][1] == point - 1:
                found[-1] = (found[-1][0], point)
            else:
                found.append((point, point))
    return [f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in found]


def literal(name: str, words: list[str]) -> str:
    """`name` as a parenthesized string of `words`, in lines of at most 110 characters."""
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 100:
            lines.append(line)
            line = ""
        line += word + " "
    lines.append(line)
    body = "\n".join(f'    "{line}"' for line in lines)
    return f"{name} = (\n{body}\n)\n"


def main() -> None:
    """Write the table."""
    category = database().category
    text = HEADER
    text += literal("LETTERS", ranges(lambda point: category(chr(point)).startswith("L")))
    text += literal("NUMBERS", ranges(lambda point: category(chr(point)).startswith("N")))
    text += literal("WHITE_SPACE", ranges(lambda point: point in WHITE_SPACE))
    DESTINATION.write_text(text)
    print(f"wrote {DESTINATION}")


if __name__ == "__main__":
    main()
