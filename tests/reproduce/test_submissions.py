"""The dump has the real format, and its planted kinds add up."""

from pathlib import Path

import orjson
import pytest

from fourhorn.files import iter_lines, read_manifest
from fourhorn.reproduce.local_web import local_web
from fourhorn.reproduce.submissions import MONTHS, submissions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dump")
    local_web(root / "web", max_pages=60, packages=("packaging",))
    submissions(root / "web", root / "dump")
    return root / "dump"


def rows(path: Path) -> list[dict[str, object]]:
    found = []
    for line in iter_lines(path):
        try:
            found.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            found.append({})
    return found


def test_every_month_has_its_file(folder: Path) -> None:
    assert sorted(p.name for p in folder.glob("RS_*")) == [f"RS_{month}.zst" for month in sorted(MONTHS)]


def test_lines_add_up_to_the_manifest(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (
        sum(len(rows(p)) for p in folder.glob("RS_*"))
        == manifest.n_in
        == sum(manifest.details["kinds"].values())
    )


def test_the_dump_has_what_real_ones_have(folder: Path) -> None:
    november, december, january = (rows(folder / f"RS_{m}.zst") for m in ("2017-11", "2017-12", "2018-01"))
    assert all(isinstance(row["created_utc"], str) for row in november)
    assert december[-1] == {}  # a line cut off in the middle
    assert january
    assert all(isinstance(row["created_utc"], int) and row["created_utc"] >= 1514764800 for row in january)
    whole = [row for row in november + december if row]
    assert any(row["score"] is None for row in whole)
    assert any(row["is_self"] for row in whole)
    assert any("wikipedia.org" in str(row["url"]) for row in whole)
    assert any("&amp;" in str(row["url"]) for row in whole)
    assert {"author", "domain", "permalink", "subreddit", "num_comments", "over_18"} <= set(whole[0])
