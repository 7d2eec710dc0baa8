"""Where each official set comes from, how to know it, and which file of a folder holds it.

§3: every set of Table 3 and Figures 1–3. A set is known by the names its files go by and verified by bytes, item
count and, where it is known, SHA-256. What is known of each figure was counted on the file itself or is stated by
its publisher; figures that are not known are left empty rather than guessed.

`find` looks for a set in a folder, `verify` compares it with what it must be, `check` does both for all sets.
Raises `UserError` with the expected and the found figures when a file is not what its name says.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fourhorn.errors import UserError, unknown
from fourhorn.evaluation import formats
from fourhorn.files import read_chunks, sha256_bytes


@dataclass(frozen=True)
class OfficialFile:
    """One file: names it goes by (the official one first), its size, hash and number of items, where known."""

    names: tuple[str, ...]
    n_bytes: int | None = None
    sha256: str | None = None
    n_items: int | None = None


@dataclass(frozen=True)
class OfficialSet:
    """One evaluation set: its files, origin and license."""

    name: str
    title: str
    files: tuple[OfficialFile, ...]
    unit: str
    source: str
    license: str
    urls: tuple[str, ...] = ()
    count: Callable[[Sequence[Path]], int] = field(default=lambda paths: 0, repr=False)


@dataclass(frozen=True)
class Found:
    """A set's files in a folder, what was counted in them, and whether they are the official ones."""

    set: OfficialSet
    paths: tuple[Path, ...]
    n_items: int
    sha256: str
    status: str  # "official": hashes agree; "counts agree": no hash is known or the copy differs; "other"
    differences: tuple[str, ...] = ()


def _lines(paths: Sequence[Path]) -> int:
    return sum(1 for _ in formats.numbered_lines(paths[0]))


def _bytes(paths: Sequence[Path]) -> int:
    return _digest(paths[0])[1]


def _segments(paths: Sequence[Path]) -> int:
    counts = [len(formats.read_segments(path)) for path in paths]
    if len(set(counts)) > 1:
        raise UserError(f"{paths[0]} has {counts[0]:,} segments but {paths[1]} has {counts[1]:,}.")
    return counts[0]


def _articles(paths: Sequence[Path]) -> int:
    return len(formats.read_articles(paths[0], paths[1] if len(paths) > 1 else None))


_CBT = "http://www.thespermwhale.com/jaseweston/babi/CBTest.tgz"
_WMT = "http://www.statmt.org/wmt14/test-full.tgz"
_PLAIN = "text of its owners; for research"


def _wmt(name: str, title: str, left: str, right: str) -> OfficialSet:
    files = (
        OfficialFile((f"newstest2014-fren-src.{left}.sgm", f"newstest2014.{left}"), n_items=3003),
        OfficialFile((f"newstest2014-fren-ref.{right}.sgm", f"newstest2014.{right}"), n_items=3003),
    )
    known = {
        ("en", "fr"): ((441845, "5521ed9b1d07763c7e8d7ddfc0fda269cd114612a6283bd3836979ea4dd10a26"),
                       (514587, "c57025c8a338c642fe3ad0206ddc75d258a5584e1d470b75f37af2fb666d7e93")),
        ("fr", "en"): ((512462, "31f98dd65e89ee6d7c3de9b72709a7e4d3f28171e8c2a81802e11cf6b36f25ed"),
                       (443970, "c73727c954e92396eb3eed1b2730804a77130c1c3a8bc6a3f5646766fc92a8eb")),
    }[left, right]  # fmt: skip
    files = tuple(OfficialFile(f.names, n, sha, f.n_items) for f, (n, sha) in zip(files, known, strict=True))  # type: ignore[assignment]
    return OfficialSet(
        name, title, files, "segments", "WMT 2014 shared task", "WMT, research use", (_WMT,), _segments
    )


OFFICIAL = {
    s.name: s
    for s in (
        OfficialSet(
            "wikitext2",
            "WikiText-2 test",
            (
                OfficialFile(
                    ("wiki.test.tokens", "wiki.test.tokens.txt"),
                    1256449,
                    "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
                    4358,
                ),
            ),
            "lines",
            "Merity et al. 2016, Salesforce",
            "CC BY-SA 3.0",
            ("https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",),
            _lines,
        ),
        OfficialSet(
            "wikitext103",
            "WikiText-103 test",
            (OfficialFile(("wikitext-103/wiki.test.tokens", "wikitext103/wiki.test.tokens"), n_items=4358),),
            "lines",
            "Merity et al. 2016, Salesforce",
            "CC BY-SA 3.0",
            ("https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-103-v1.zip",),
            _lines,
        ),
        OfficialSet(
            "ptb",
            "Penn Treebank test (Mikolov)",
            (OfficialFile(("ptb.test.txt",), 449945, None, 3761),),
            "lines",
            "Mikolov's simple-examples",
            "LDC; the files in public use",
            ("http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz",),
            _lines,
        ),
        OfficialSet(
            "enwik8",
            "enwik8 (last 5,000,000 bytes are the test)",
            (OfficialFile(("enwik8",), 100_000_000, None, 100_000_000),),
            "bytes",
            "Hutter Prize, Matt Mahoney",
            "CC BY-SA (Wikipedia)",
            ("http://mattmahoney.net/dc/enwik8.zip",),
            _bytes,
        ),
        OfficialSet(
            "text8",
            "text8 (last 5,000,000 characters are the test)",
            (OfficialFile(("text8",), 100_000_000, None, 100_000_000),),
            "bytes",
            "Matt Mahoney",
            "CC BY-SA (Wikipedia)",
            ("http://mattmahoney.net/dc/text8.zip",),
            _bytes,
        ),
        OfficialSet(
            "1bw",
            "One Billion Word Benchmark, held-out shard 0",
            (OfficialFile(("news.en.heldout-00000-of-00050",)),),
            "lines",
            "Chelba et al. 2013",
            "Apache 2.0 scripts; WMT news text",
            (
                "http://www.statmt.org/lm-benchmark/1-billion-word-language-modeling-benchmark-r13output.tar.gz",
            ),
            _lines,
        ),
        OfficialSet(
            "lambada",
            "LAMBADA test, OpenAI's file",
            (
                OfficialFile(
                    ("lambada_test.jsonl", "lambada_test.openai.jsonl"),
                    1819752,
                    "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226",
                    5153,
                ),
            ),
            "passages",
            "Paperno et al. 2016; OpenAI's version without preprocessing",
            "CC BY 4.0",
            ("https://openaipublic.blob.core.windows.net/gpt-2/data/lambada_test.jsonl",),
            lambda paths: len(formats.read_lambada(paths[0])),
        ),
        *(
            OfficialSet(
                f"cbt_{kind.lower()}",
                f"Children's Book Test, {kind} validation",
                (
                    OfficialFile(
                        (f"cbtest_{kind}_valid_2000ex.txt", f"cbtest_{kind}_valid_2000ex.reconstructed.txt"),
                        n_items=2000,
                    ),
                ),
                "questions",
                "Hill et al. 2015, Facebook AI Research",
                "Project Gutenberg texts",
                (_CBT,),
                lambda paths: len(formats.read_childrens_book(paths[0])),
            )
            for kind in ("CN", "NE")
        ),
        OfficialSet(
            "winograd",
            "Winograd Schema Collection (the first 273 of 285 are the set)",
            (
                OfficialFile(
                    ("WSCollection.xml",),
                    113073,
                    "8d72fe16331cfcddfc2f8ec6f87c5a07e186f913e023705a998a5cc6011994e4",
                    285,
                ),
            ),
            "schemata",
            "Levesque et al. 2012; New York University",
            "CC BY 4.0",
            ("https://cs.nyu.edu/~davise/papers/WinogradSchemas/WSCollection.xml",),
            lambda paths: len(formats.read_winograd(paths[0])),
        ),
        OfficialSet(
            "coqa",
            "CoQA development set 1.0",
            (OfficialFile(("coqa-dev-v1.0.json",), n_items=7983),),
            "turns",
            "Reddy et al. 2019, Stanford",
            "several; see the publisher",
            ("https://nlp.stanford.edu/data/coqa/coqa-dev-v1.0.json",),
            lambda paths: sum(len(c.questions) for c in formats.read_coqa(paths[0])),
        ),
        OfficialSet(
            "cnn_dailymail",
            "CNN/Daily Mail test, not anonymized",
            (
                OfficialFile(("test.txt.src", "src.txt", "cnn_dailymail.jsonl"), n_items=11490),
                OfficialFile(("test.txt.tgt.tagged", "ref.txt", ""), n_items=11490),
            ),
            "articles",
            "Hermann et al. 2015, See et al. 2017",
            _PLAIN,
            ("https://s3.amazonaws.com/opennmt-models/Summary/cndm.tar.gz",),
            _articles,
        ),
        _wmt("wmt14_en_fr", "WMT-14 newstest2014, English to French", "en", "fr"),
        _wmt("wmt14_fr_en", "WMT-14 newstest2014, French to English", "fr", "en"),
        OfficialSet(
            "natural_questions",
            "Natural Questions open, development set",
            (
                OfficialFile(
                    ("NQ-open.dev.jsonl",),
                    391316,
                    "f15567f38099f3615f5b8a685c0aef449c11ad90d3da3735e8d1b98115b40616",
                    3610,
                ),
            ),
            "questions",
            "Kwiatkowski et al. 2019, Lee et al. 2019, Google",
            "CC BY-SA 3.0",
            (
                "https://raw.githubusercontent.com/google-research-datasets/natural-questions/master/nq_open/"
                "NQ-open.dev.jsonl",
            ),
            lambda paths: len(formats.read_questions(paths[0])),
        ),
    )
}


def official(name: str) -> OfficialSet:
    """The set of that name; an unknown one is a `UserError`."""
    if name not in OFFICIAL:
        raise unknown("evaluation set", name, OFFICIAL)
    return OFFICIAL[name]


def find(name: str, folder: Path) -> tuple[Path, ...] | None:
    """The set's files anywhere below `folder`, all under the same alternative of their names; None when absent."""
    wanted = official(name).files
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder. Give --data the folder that holds the evaluation sets.")
    for alternative in range(max(len(file.names) for file in wanted)):
        names = [file.names[min(alternative, len(file.names) - 1)] for file in wanted]
        paths = [_below(folder, each, name) for each in names if each]
        if all(paths):
            return tuple(path for path in paths if path is not None)
    return None


def _below(folder: Path, name: str, set_name: str) -> Path | None:
    for suffix in ("", ".gz", ".xz", ".zst", ".bz2"):
        for path in sorted(folder.rglob(f"{name}{suffix}")):
            parts = "/".join(path.parts[-3:]).replace("-", "").lower()
            if path.is_file() and not (set_name == "wikitext2" and "wikitext103" in parts):
                return path
    return None


def verify(name: str, paths: Sequence[Path]) -> Found:
    """Compare the files of a set with what they must be."""
    spec = official(name)
    n_items = spec.count(paths)
    hashes, sizes = zip(*(_digest(path) for path in paths), strict=True)
    differences = []
    exact = True
    for file, path, digest, size in zip(spec.files, paths, hashes, sizes, strict=False):
        if file.sha256 and digest != file.sha256:
            differences.append(f"{path.name}: sha256 {digest}, expected {file.sha256}")
        if file.n_bytes and size != file.n_bytes:
            differences.append(f"{path.name}: {size:,} bytes, expected {file.n_bytes:,}")
        exact &= file.sha256 is not None and not differences
    expected = spec.files[0].n_items
    right = expected is None or n_items == expected
    if not right:
        differences.append(f"{paths[0].name}: {n_items:,} {spec.unit}, expected {expected:,}")
    status = "official" if exact and right else "counts agree" if right else "other"
    digest = hashes[0] if len(hashes) == 1 else sha256_bytes("".join(hashes).encode())
    return Found(spec, tuple(paths), n_items, digest, status, tuple(differences))


def _digest(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file's content, decompressed."""
    found, size = hashlib.sha256(), 0
    for chunk in read_chunks(path):
        found.update(chunk)
        size += len(chunk)
    return found.hexdigest(), size


def refuse_other(found: Found) -> None:
    """Raise for files whose counts are not the official ones."""
    if found.status == "other":
        raise UserError(
            f"{found.paths[0]} is not {found.set.title}: {'; '.join(found.differences)}. "
            f"Fetch it with: fourhorn data fetch {found.set.name}, "
            "or pass --other-files to score it under the label 'other'."
        )


def check(folder: Path) -> dict[str, Found | str | None]:
    """For every known set: what the folder holds, the reason a file cannot be read, or None."""
    outcome: dict[str, Found | str | None] = {}
    for name in OFFICIAL:
        paths = find(name, folder)
        try:
            outcome[name] = verify(name, paths) if paths else None
        except UserError as error:
            outcome[name] = str(error)
    return outcome
