"""The wheel and the sdist: the same bytes from the same sources, whole, and nothing else in them."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TESTED_EXTRAS = ("webtext", "eval", "serve", "report", "interop")  # what `fourhorn[all]` brings
BUILD = "import hatchling.build as b; b.build_wheel('dist'); b.build_sdist('dist')"


def copy_sources(folder: Path) -> Path:
    """What is under version control, as files of today."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def build(folder: Path) -> dict[str, str]:
    """Build both; the SHA-256 of each."""
    result = subprocess.run([sys.executable, "-c", BUILD], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "dist").iterdir()}


def test_two_builds_are_identical_and_whole(tmp_path: Path) -> None:
    one, two = copy_sources(tmp_path / "one"), copy_sources(tmp_path / "elsewhere" / "two")
    for path in sorted(two.rglob("*")):  # other times and permissions, as another person's checkout has
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert build(one) == build(two)

    sources = {str(path.relative_to(one)) for path in (one / "fourhorn").rglob("*") if path.is_file()}
    assert {"fourhorn/py.typed", "fourhorn/report/paper.json", "fourhorn/serving/page.html"} < sources
    with zipfile.ZipFile(next((one / "dist").glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        folder = f"fourhorn-{PROJECT['version']}.dist-info/"
        rest = {
            f"{folder}{name}"
            for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
        }
        assert names == sources | rest
        assert b"fourhorn = fourhorn.cli.app:main" in wheel.read(f"{folder}entry_points.txt")
    with tarfile.open(next((one / "dist").glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
        assert sources < names
        assert not {name for name in names if name.startswith(("tests", "benchmarks", "docs", ".ci"))}
        assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt"} < names


def test_lowest_versions_are_the_lower_bounds_of_the_project() -> None:
    wanted = PROJECT["dependencies"] + [
        line for extra in TESTED_EXTRAS for line in PROJECT["optional-dependencies"][extra]
    ]
    bounds = {re.match(r"([\w.-]+)>=([\w.]+)", line).groups() for line in wanted}  # type: ignore[union-attr]
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    pins = {tuple(line.split("==")) for line in lines if line and not line.startswith("#")}
    assert pins == bounds


def test_every_tested_version_is_within_the_bounds() -> None:
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for line in PROJECT["dependencies"] + [
        line for extra in TESTED_EXTRAS for line in PROJECT["optional-dependencies"][extra]
    ]:
        name, low, _, high = re.match(r"([\w.-]+)>=([\w.]+)(,<([\w.]+))?", line).groups()  # type: ignore[union-attr]
        assert numbers(low) <= numbers(pins[name]) < numbers(high or "999"), line


def numbers(version: str) -> tuple[int, ...]:
    """2.13.0 as (2, 13, 0)."""
    return tuple(int(part) for part in version.split("."))
