"""The 256 bytes, in the order and in the printable characters of the release.

Section 2.2: the base vocabulary is the 256 bytes. Its files write each byte as one visible character: bytes that are
visible in Latin-1 stand for themselves, the other 68 are given U+0100, U+0101, …, so a space is written `Ġ` (U+0120).
Token ids 0 to 255 follow this order of characters, not the value of the byte.
"""

VISIBLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
HIDDEN = tuple(byte for byte in range(256) if byte not in VISIBLE)

# The byte of each of the first 256 tokens, and back.
BYTE_OF_TOKEN = (*VISIBLE, *HIDDEN)
TOKEN_OF_BYTE = tuple(BYTE_OF_TOKEN.index(byte) for byte in range(256))

CHAR_OF_BYTE = {byte: chr(byte) for byte in VISIBLE} | {byte: chr(0x100 + i) for i, byte in enumerate(HIDDEN)}
BYTE_OF_CHAR = {char: byte for byte, char in CHAR_OF_BYTE.items()}


def visible(data: bytes) -> str:
    """Bytes as the release writes them: one printable character each."""
    return "".join(map(CHAR_OF_BYTE.__getitem__, data))


def hidden(text: str) -> bytes:
    """The bytes behind printable characters; raises `KeyError` for a character that stands for none."""
    return bytes(map(BYTE_OF_CHAR.__getitem__, text))
