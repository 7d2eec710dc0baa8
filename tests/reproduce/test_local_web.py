"""The local web has the faults of the real one, the same in every run."""

from collections import Counter
from pathlib import Path

from fourhorn.files import read_manifest, sha256_file
from fourhorn.records import iter_records
from fourhorn.reproduce.local_web import FAULTS, local_web, outdated, with_copies
from fourhorn.reproduce.prose import Block, Page


def test_the_same_machine_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        local_web(tmp_path / name, max_pages=40, packages=("packaging",))
    assert sha256_file(tmp_path / "a/pages.jsonl.zst") == sha256_file(tmp_path / "b/pages.jsonl.zst")


def test_every_fault_is_there_and_counted(tmp_path: Path) -> None:
    local_web(tmp_path / "web", max_pages=40, packages=("packaging",))
    kinds = Counter(row["kind"] for row in iter_records(tmp_path / "web" / "pages.jsonl.zst"))
    manifest = read_manifest(tmp_path / "web")
    assert manifest is not None
    assert manifest.details["kinds"] == dict(kinds)
    assert {kind: kinds[kind] for kind in FAULTS} == FAULTS
    assert kinds["foreign"] == 80
    assert kinds["page"] + kinds["private"] == 40


def test_an_outdated_copy_lacks_one_paragraph_and_says_so() -> None:
    blocks = tuple(Block("p", f"paragraph {i}") for i in range(8))
    old = outdated(blocks)
    assert len(old) == 8
    assert ["p", "paragraph 4"] not in old
    assert old[0][1].startswith("This page belongs to an older release.")


def test_copies_are_redirects_mirrors_and_older_versions() -> None:
    blocks = tuple(Block("p", f"paragraph {i}") for i in range(8))
    kinds = Counter(
        row["kind"]
        for n in range(1000)
        for row in with_copies(Page("torch", f"/{n}.html", f"torch {n}", blocks))
    )
    assert set(kinds) == {"page", "private", "redirect", "mirror", "older"}
    assert 20 < kinds["redirect"] < 70
    assert 30 < kinds["mirror"] < 100
