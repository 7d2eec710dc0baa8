"""The layout of a worker's state: one array of 64-bit numbers that kernels read by name.

A kernel gets the address of this array as its only argument, which makes a call cheap and resumable: when a table is
half full the kernel returns, its caller makes the table larger, and the kernel goes on where it was.
"""

from fourhorn.tokenizer.kernels.functions import inlined
from fourhorn.tokenizer.kernels.intrinsics import load64, store64

# What to read and write.
TEXT, TEXT_BYTES, OUT, SCAN = 0, 8, 16, 24
# Where the scan for pieces is in its text, and what it knows of the last block of 64 bytes.
AT, LAST_LETTER, LAST_NUMBER, LAST_OTHER, LAST_WHITE, LAST_SPACE = 32, 40, 48, 56, 64, 72
SET_BITS, CLEAR_BITS, WIDE_LEFT, WIDE_CLASS = 80, 88, 96, 104
# Pieces that are found and not yet worked on: in STARTS, from number NEXT to N_STARTS.
STARTS, KEYS, NEXT, N_STARTS, ENDED = 112, 120, 128, 136, 144
# Documents: the array of where they begin, how many, which one is next, the array of where their ids begin.
FROM, N_PARTS, PART, BEGINS, SEPARATOR, BASE, CONTINUES = 152, 160, 168, 176, 184, 192, 200
# Tables: of character classes, masks, pairs, bytes, ids.
CLASS_INDEX, CLASS_PAGES, KEY_MASKS, PAIRS, PAIR_MASK = 208, 216, 224, 232, 240
BYTE_TOKENS, IDS, ID_SHIFT = 248, 256, 264
# Remembered pieces: short ones, long ones, and the memory for what the slots of the long ones point to.
SHORT, SHORT_SHIFT, N_SHORT, SHORT_LIMIT = 272, 280, 288, 296
LONG, LONG_MASK, N_LONG, LONG_LIMIT = 304, 312, 320, 328
ARENA, ARENA_USED, ARENA_BYTES, BEGUN = 336, 344, 352, 360
# To merge in: fixed memory for a short piece; memory for a long one, how long it may be, how long the longest of a
# batch is; of the lists of places the first and last entry for each token, a bit for each list that is not empty, how
# many words these bits are, how many entries there are; for two bytes, what they merge into.
WORK, LONG_WORK, LONG_ROOM, LONGEST = 368, 376, 384, 392
MERGE_LISTS, MERGE_BITS, N_MERGE_WORDS, N_ENTRIES, BYTE_PAIRS = 400, 408, 416, 424, 432
# Documents: the array of where they end.
TO = 440
N_FIELDS = 56

CLASS_OTHER, CLASS_LETTER, CLASS_NUMBER, CLASS_WHITE = 0, 1, 2, 3

# A batch of pieces; the scan may overshoot by the 64 that one block can hold.
BATCH_PIECES = 192
BUFFER_PIECES = BATCH_PIECES + 72


@inlined
def get(state, field):  # type: ignore[no-untyped-def]
    """Read one field."""
    return load64(state + field)


@inlined
def put(state, field, value):  # type: ignore[no-untyped-def]
    """Write one field."""
    store64(state + field, value)
