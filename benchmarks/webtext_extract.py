"""How exactly is the text of real pages found, and how fast, beside other extractors?

    python benchmarks/webtext_extract.py FOLDER

FOLDER holds `ground-truth.json` and `html/*.html.gz` of scrapinghub's article-extraction-benchmark. The measure is that
benchmark's, written anew: precision and recall of word 4-grams with their counts, averaged over pages, and F1 of the
averages. Pages per second are those of one core (processor time), decoding included.
"""

import argparse
import gzip
import json
import logging
import random
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from table import write_table

from fourhorn.webtext.boilerplate import without_headline
from fourhorn.webtext.charset import decode
from fourhorn.webtext.extractors import EXTRACTORS, extract_text

WORD = re.compile(r"\w+")


def shingles(text: str, n: int = 4) -> Counter:
    words = WORD.findall(text)
    return Counter(tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))) if words else Counter()


def precision_recall(truth: str, found: str) -> tuple[float, float]:
    a, b = shingles(truth), shingles(found)
    common = sum((a & b).values())
    return (common / b.total() if b else float(not a)), (common / a.total() if a else float(not b))


def scores(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    precision, recall = (sum(p[i] for p in pairs) / len(pairs) for i in (0, 1))
    return 2 * precision * recall / (precision + recall), precision, recall


def spread(pairs: list[tuple[float, float]], n: int = 300) -> float:
    """The bootstrap's standard deviation of F1 over pages."""
    rng = random.Random(0)
    f1 = [scores(rng.choices(pairs, k=len(pairs)))[0] for _ in range(n)]
    mean = sum(f1) / n
    return (sum((x - mean) ** 2 for x in f1) / n) ** 0.5


def rivals() -> dict[str, tuple[str, Callable[[bytes], str | None]]]:
    """Name → package and function from a page's bytes; imported when called."""

    def trafilatura_default(body: bytes) -> str | None:
        import trafilatura

        return trafilatura.extract(decode(body), include_comments=False)

    def readability(body: bytes) -> str:
        import html_text
        from readability import Document

        return html_text.extract_text(Document(decode(body)).summary(html_partial=True))

    def newspaper(body: bytes) -> str:
        from newspaper import Article

        article = Article("http://localhost/", language="en", fetch_images=False, memorize_articles=False)
        article.download(input_html=decode(body))
        article.parse()
        return article.text

    def justext(body: bytes) -> str:
        import justext as module

        found = module.justext(decode(body), module.get_stoplist("English"))
        return "\n".join(part.text for part in found if not part.is_boilerplate)

    def all_text(body: bytes) -> str:
        import html_text

        return html_text.extract_text(decode(body))

    ours = {
        f"fourhorn `{name}`": ("fourhorn", lambda body, name=name: extract_text(decode(body), name))
        for name in ("trafilatura", "consensus", "resiliparse", "paper")
    }
    plain = {
        f"fourhorn `{name}` without boilerplate rules": (
            "fourhorn",
            lambda body, blocks=EXTRACTORS[name]: "\n\n".join(blocks(decode(body))),
        )
        for name in ("trafilatura", "consensus")
    }
    plain |= {
        f"fourhorn `{name}` with the headline rule alone": (
            "fourhorn",
            lambda body, blocks=EXTRACTORS[name]: "\n\n".join(
                without_headline(blocks(html := decode(body)), html)
            ),
        )
        for name in ("trafilatura", "consensus")
    }
    return (
        ours
        | plain
        | {
            "trafilatura, its default": ("trafilatura", trafilatura_default),
            "readability + html_text": ("readability-lxml", readability),
            "newspaper4k": ("newspaper4k", newspaper),
            "jusText": ("justext", justext),
            "all text of the page": ("html_text", all_text),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    truth = {k: v["articleBody"] for k, v in json.loads((folder / "ground-truth.json").read_text()).items()}
    pages = {key: gzip.decompress((folder / "html" / f"{key}.html.gz").read_bytes()) for key in truth}
    rows = []
    for name, (package, extract) in rivals().items():
        try:
            found_version = "this one" if package == "fourhorn" else version(package)
            extract(next(iter(pages.values())))
        except (PackageNotFoundError, ImportError):
            rows.append([name, "not installed", "", "", "", "", ""])
            continue
        texts, seconds = {}, []
        for key, body in pages.items():
            started = time.process_time()
            texts[key] = extract(body) or ""
            seconds.append(time.process_time() - started)
        pairs = [precision_recall(truth[key], texts[key]) for key in truth]
        f1, precision, recall = scores(pairs)
        p99 = sorted(seconds)[int(len(seconds) * 0.99)]
        figures = [f"{f1:.4f} ± {spread(pairs):.3f}", f"{precision:.3f}", f"{recall:.3f}"]
        rows.append([name, found_version, *figures, f"{len(pages) / sum(seconds):.0f}", f"{1000 * p99:.0f}"])
        print(rows[-1], flush=True)
    title = f"Main text of {len(pages)} real pages"
    note = (
        "± is the bootstrap's standard deviation over pages. The boilerplate rules were worded after looking at what "
        "extractors wrongly kept on these pages, so their part of the gain may be smaller elsewhere."
    )
    head = ["extractor", "version", "F1", "precision", "recall", "pages/s/core", "p99, ms"]
    write_table(__file__, title, head, rows, [note])


if __name__ == "__main__":
    main()
