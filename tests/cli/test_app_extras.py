"""Every command with none of the extras installed: it works with the core, or names the extra to install."""

import json
import os
import subprocess
import sys
from pathlib import Path

from fourhorn.cli.app import COMMANDS, EXTRAS

ROOT = Path(__file__).parent.parent.parent

# Python runs a module of this name first, in every process, workers too. jinja2 comes with torch and is never missing.
HIDE = f"""
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(set(EXTRAS) - {"jinja2"})!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
"""
NEEDS = {
    "report": "report",
    "serve": "serve",
    "compare": "eval",
    "evaluate": "eval",
    **{
        f"webtext {name}": "webtext"
        for name in ("links", "crawl", "extract", "clean", "dedup", "split", "stats")
    },
}
REFUSED = {  # what the other commands of the walk end in
    "download": "--offline forbids fetching it",
    "data fetch": "There is no",
}


def test_every_command_works_with_the_core_or_names_its_extra(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(HIDE)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'hide'}:{ROOT}", "FOURHORN_HOME": str(tmp_path)}
    command = [sys.executable, str(Path(__file__).parent / "every_command.py"), str(workspace), str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    ends = json.loads(result.stdout)
    assert set(ends) == {name for rows in COMMANDS.values() for name, _, _ in rows}
    for name, (code, error, _) in ends.items():
        if name in NEEDS:
            assert code == 2, name
            assert f"pip install 'fourhorn[{NEEDS[name]}]'" in error, (name, error)
        elif name in REFUSED:
            assert code == 2, name
            assert REFUSED[name] in error, (name, error)
        else:
            assert code == 0, (name, error)
