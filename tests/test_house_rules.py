"""The house rules that a machine can hold: layers, sizes, docstrings, tests that mirror sources."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fourhorn"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py"))

# A module imports its own package and lower layers only.
LAYERS = [
    {"errors", "files", "records", "progress", "engine", "engine_ray", "machine_code", "runtime", "zstd"},
    {"webtext", "tokenizer", "model"},
    {"checkpoints", "sampling"},
    {"training", "evaluation"},
    {"memorization"},
    {"serving", "report"},
    {"reproduce"},
    {"cli"},
]
LAYER_OF = {name: level for level, names in enumerate(LAYERS) for name in names}
NO_TORCH = {
    "errors",
    "files",
    "records",
    "progress",
    "engine",
    "machine_code",
    "zstd",
    "webtext",
    "tokenizer",
    "memorization",
    "report",
    "cli",
}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def unit_of(module: str) -> str:
    """The layer unit a module belongs to: `fourhorn.webtext.links` → `webtext`."""
    return module.split(".")[1] if "." in module else ""


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("fourhorn.")}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_module_imports_only_its_own_package_and_lower_layers(path: Path) -> None:
    unit = unit_of(name_of(path))
    if not unit:
        return
    for imported in imports_of(path):
        other = unit_of(imported)
        if other in LAYER_OF and other != unit:
            assert LAYER_OF[other] < LAYER_OF[unit] or LAYER_OF[unit] == LAYER_OF[other] == 0, imported


def test_every_package_and_module_has_a_layer() -> None:
    units = {unit_of(name_of(path)) for path in SOURCES} - {""}
    assert units <= set(LAYER_OF), units - set(LAYER_OF)


def test_imports_have_no_cycles() -> None:
    modules = {name_of(path) for path in SOURCES}
    graph = {}
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        top = {
            name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module
            for name in (node.module, *(f"{node.module}.{a.name}" for a in node.names))
        }
        graph[name_of(path)] = {name for name in top if name in modules and name != name_of(path)}
    finished: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join((*trail, module))
        if module not in finished:
            for other in graph[module]:
                # a package's __init__ may gather its own modules
                if not module.startswith(f"{other}."):
                    visit(other, (*trail, module))
            finished.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_module_is_short_and_says_its_idea(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no docstring"
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            help_text = ast.get_docstring(node, clean=False) or ""  # a command's options are documented there
            n_lines = node.end_lineno - node.lineno + 1 - len(help_text.splitlines())
            assert n_lines <= MAX_FUNCTION_LINES, node.name


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_public_functions_and_classes_are_documented(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if any("overload" in ast.unparse(decorator) for decorator in node.decorator_list):
                continue
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_no_cupboard_modules() -> None:
    forbidden = {"utils", "util", "common", "helpers", "helper", "misc", "configs", "experiments"}
    assert not [path for path in SOURCES if forbidden & set(path.with_suffix("").parts)]


def test_each_test_file_mirrors_a_source() -> None:
    whole = {
        "test_house_rules",
        "test_public_api",
        "test_readme",
        "test_pipeline",
        "test_examples",
        "test_docs",
        "test_packaging",
    }
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.stem in whole:
            continue
        folder = PACKAGE / path.parent.relative_to(ROOT / "tests")
        subject = path.stem.removeprefix("test_")
        candidates = [folder / f"{subject}.py", folder / subject, PACKAGE / subject]
        parts = subject.split("_")
        # a test file may cover one aspect of a module: test_state_kill.py covers state.py
        candidates += [folder / f"{'_'.join(parts[:n])}.py" for n in range(1, len(parts))]
        assert any(c.exists() for c in candidates) or folder.name == subject.split("_")[0], path


def test_light_packages_import_without_torch() -> None:
    names = [name_of(path) for path in SOURCES if unit_of(name_of(path)) in NO_TORCH]
    ray = [name for name in names if name.endswith("ray")]
    wanted = sorted(set(names) - set(ray))
    code = f"import importlib, sys\nfor n in {wanted!r}: importlib.import_module(n)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_changelog_has_the_package_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_files_name_no_machine_paths_or_download_addresses() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(^|[^A-Za-z0-9_.])/(work|farm|root|opt)/|files\.pythonhosted|/simple/")
    for name in tracked.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".sh", ".html", ""} and path.is_file():
            if path == Path(__file__):
                continue
            match = pattern.search(path.read_text(errors="replace"))
            assert not match, f"{name}: {match[0] if match else ''}"
