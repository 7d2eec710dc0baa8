"""Which characters a page's bytes are: by mark, by validity, by header, by meta tag, by detection, in this order.

Web pages of §2.1 come in dozens of encodings and often declare the wrong one. Bytes beyond ASCII that are valid UTF-8
are practically never anything else, so validity goes before every declaration. Labels mean what browsers take them
for (https://encoding.spec.whatwg.org: `latin1` is windows-1252). Undecodable bytes become U+FFFD; nothing is raised.
"""

import codecs
import re

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"""<meta[^>]{0,500}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_XML = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})""")
_META_BYTES = 8192
_DETECT_BYTES = 1 << 17

# The label's codec in Python is narrower than what browsers use for it.
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
    "utf-16": "utf-16-le",
}
# Codecs that a label must not reach: not character sets, or never used on the web.
_REFUSED = frozenset(
    [
        "utf-7",
        "idna",
        "punycode",
        "raw-unicode-escape",
        "unicode-escape",
        "undefined",
        "utf-8-sig",
        "mbcs",
        "oem",
    ]
)


def decode(body: bytes, declared: str | None = None) -> str:
    """The text of a page's bytes; `declared` is the charset of the `Content-Type` header."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, errors="replace")
    header = codec(declared)
    if header in ("utf-16-le", "utf-16-be"):
        return body.decode(header, errors="replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        nearly_utf8 = error.start > 0 and _is_multibyte(body[: error.start])
    name = header or _meta(body) or _detected(body)
    if name == "utf-8" or (nearly_utf8 and _mostly_utf8(body)):
        return body.decode("utf-8", errors="replace")
    return body.decode(name, errors="replace")


def codec(label: str | None) -> str | None:
    """The Python codec that browsers would use for a label, or None when it names no character set."""
    if not label:
        return None
    try:
        name = codecs.lookup(label.strip().strip("\"'")).name
        "".encode(name)
    except (LookupError, ValueError, UnicodeError):
        return None
    return None if name in _REFUSED else _WIDER.get(name, name)


def _meta(body: bytes) -> str | None:
    start = body[:_META_BYTES]
    for pattern in (_META, _XML):
        found = pattern.search(start)
        if found and (name := codec(found[1].decode("ascii", "replace"))):
            # A page whose meta tag could be read byte by byte is not UTF-16, whatever it says.
            return "utf-8" if name.startswith("utf-16") else name
    return None


def _detected(body: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    return codec(detect_encoding(body, max_len=_DETECT_BYTES)) or "cp1252"


def _is_multibyte(start: bytes) -> bool:
    return not start.isascii()


def _mostly_utf8(body: bytes) -> bool:
    """Whether a page is UTF-8 with a few broken bytes: far fewer replacements than good characters beyond ASCII."""
    text = body.decode("utf-8", errors="replace")
    n_broken = text.count("\ufffd")
    n_good = sum(not part.isascii() for part in text.split()) - n_broken
    return n_good > 20 * n_broken
