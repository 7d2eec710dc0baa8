"""Your own documents through WebText's cleaning: python examples/03_webtext.py documents.jsonl out

Any record file with a `text` column enters where it fits: extraction is skipped, cleaning and de-duplication are not.
"""

import sys
from pathlib import Path

from fourhorn.webtext.clean import clean
from fourhorn.webtext.dedup import dedup
from fourhorn.webtext.split import split

source, out = Path(sys.argv[1]), Path(sys.argv[2])
for stage, before, after in (
    (clean, source, "clean"),
    (dedup, out / "clean", "unique"),
    (split, out / "unique", "webtext"),
):
    manifest = stage(before, out / after)
    print(f"{manifest.stage}: {manifest.n_kept:,} of {manifest.n_in:,} kept; dropped: {manifest.drops}")
