"""Claim: 40 GB fit in tens of megabytes by `stream`; a run over a gigabyte of shards gives the speed and the memory.

The corpus is the given texts several times over, each time with the letters moved on by one, so that no 8-gram of one
copy is in another; as .jsonl.zst shards on disk. The test sets are WikiText-2 and LAMBADA. Every method runs in a
process of its own, reads the shards through the ordinary command's function, and reports its peak memory. Last, the
cell of Table 6 that the data allows: WikiText-2 against its own training text, by both methods.

    python benchmarks/memorization_scale.py [folder of the data]
"""

import argparse
import json
import lzma
import string
import subprocess
import sys
import tempfile
from pathlib import Path

from table import write_table

from fourhorn.records import iter_texts, write_records

DATA = Path(__file__).parents[2] / "shared" / "data"
TEXTS = ("english", "books-1", "books-2", "multilingual")
N_COPIES = 4
WEBTEXT_BYTES = 40e9
RUN = """
import json, sys, time
from fourhorn.memorization.overlap import overlap
tests, train, destination, tokenizer, unit, method = sys.argv[1:]
result = overlap(tests.split(","), train, destination, tokenizer=tokenizer, unit=unit, method=method, n_threads=2)
print(json.dumps({"processor_seconds": time.process_time(), "results": result}))
"""


def make_corpus(data: Path, folder: Path) -> int:
    """Write the shards; bytes of text."""
    letters, n_bytes = string.ascii_lowercase, 0
    for copy in range(N_COPIES):
        moved = letters[copy:] + letters[:copy]
        table = str.maketrans(letters + letters.upper(), moved + moved.upper())
        for name in TEXTS:
            texts = lzma.open(data / f"text/{name}.txt.xz").read().decode().split("<|endoftext|>")
            texts = [text.translate(table) if copy else text for text in texts]
            n_bytes += sum(len(text.encode()) for text in texts)
            write_records(folder / f"part-{copy}-{name}.jsonl.zst", ({"text": text} for text in texts))
    return n_bytes


def corpus_bytes(folder: Path) -> int:
    """Bytes of text in shards that are there already."""
    return sum(len(text.encode()) for text in iter_texts(folder))


def measured(*arguments: object) -> tuple[dict, float]:
    """The results of one overlap in a process of its own, by test set, and its processor seconds."""
    done = subprocess.run([sys.executable, "-c", RUN, *map(str, arguments)], capture_output=True, check=True)
    found = json.loads(done.stdout)
    return found["results"], found["processor_seconds"]


def table_6(data: Path, folder: Path) -> str:
    """WikiText-2 against its own training text, by both methods, as a note."""
    own = data / "eval/wikitext2"
    test, train = own / "wiki.test.tokens.txt", own / "wiki.train.tokens.article-order-changed.txt"
    said = []
    for method in ("stream", "bloom"):
        (found,) = measured(test, train, folder / "own", data / "gpt2-vocab", "bpe", method)[0].values()
        said.append(
            f"{100 * found['overlap']:.3f} % ({found['n_hits']:,} of {found['n_ngrams']:,}) by `{method}`"
        )
    return f"WikiText-2 against its own training text, 8-grams of GPT-2's BPE (paper: 0.66 %): {', '.join(said)}."


def main() -> None:
    """Run every method over the corpus and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=DATA)
    parser.add_argument("--corpus", type=Path, help="use, and keep, the shards in this folder")
    options = parser.parse_args()
    data = options.data
    tests = f"{data}/eval/wikitext2/wiki.test.tokens.txt,{data}/eval/lambada/lambada_test.openai.jsonl"
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.corpus or Path(temporary)
        n_bytes = (
            make_corpus(data, folder / "train")
            if not (folder / "train").is_dir()
            else corpus_bytes(folder / "train")
        )
        for method in ("stream", "bloom"):
            for unit in ("words", "bpe"):
                arguments = [tests, folder / "train", folder / "overlap", data / "gpt2-vocab", unit, method]
                results, seconds = measured(*arguments)
                found = results["lambada"]
                index = found["index_bytes"]
                scaled = index * (WEBTEXT_BYTES / n_bytes if method == "bloom" else 1)
                speed = n_bytes / 1e6 / seconds
                row = [method, unit, f"{n_bytes / 1e9:.2f} GB", f"{found['seconds']:.0f} s"]
                row += [f"{seconds:.0f} s", f"{speed:.0f}"]
                row += [f"{index / 1e6:,.0f} MB", f"{found['peak_memory_bytes'] / 1e6:,.0f} MB"]
                row += [f"{WEBTEXT_BYTES / 1e6 / speed / 60:.0f} min", f"{scaled / 1e9:.2f} GB"]
                shares = (f"{100 * result['overlap']:.2f}" for result in results.values())
                row += [", ".join(shares), f"{found['false_positive_bound']:.1e}"]
                rows.append(row)
                print(row, flush=True)
        own = table_6(data, folder)
    head = (
        "method",
        "unit",
        "text",
        "time",
        "processor time",
        "MB/s per core",
        "table or filter",
        "peak memory of the process",
    )
    head += ("40 GB on one core", "and hold", f"overlap of {' and '.join(results)}, %", "chance match")
    notes = [
        "Processor seconds of both threads, with start-up, reading and decoding .jsonl.zst. `bloom` reads twice: to "
        "count, and to add. The peak holds Python, Numba's compiler, the tokenizer's tables and buffers as well.",
        own,
        "`stream`'s table depends on the test sets alone; the filter grows with the text. Copies with moved letters "
        "are no English, so they have more BPE tokens and larger filters than real text of their length.",
    ]
    write_table(__file__, "Overlap over a gigabyte of shards", head, rows, notes)


if __name__ == "__main__":
    main()
