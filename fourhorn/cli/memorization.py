"""The commands of section 4: `fourhorn overlap`, `scores`, `recitation` and `bloom build|merge|check`."""

from pathlib import Path
from typing import Any, Literal


def overlap(
    tests: list[str],
    /,
    *,
    train: list[Path] | None = None,
    destination: Path = Path("overlap"),
    tokenizer: Path | None = None,
    unit: Literal["bpe", "words"] = "bpe",
    ngram: int = 8,
    method: Literal["stream", "bloom"] = "stream",
    against: str = "webtext",
    bloom: Path | None = None,
    false_positive_rate: float = 1e-8,
    n_threads: int = 0,
) -> None:
    """Measure which share of test sets' 8-grams stands in the training text (Table 6).

    Args:
        tests: test sets, each a record file or folder, or NAME=PATH.
        train: training text: record files or folders of shards; not needed with a saved filter.
        destination: folder for one JSON file per test set.
        tokenizer: vocabulary for `--unit bpe`: a folder or file; default the folder `tokenizer` where it is.
        unit: BPE tokens of the normalized text (the paper's) or words.
        ngram: length of an n-gram, in units.
        method: stream (exact, tens of megabytes) or bloom (a filter over the training text, as in the paper).
        against: a name for the training text; Table 6 compares `webtext` with each set's `own` training part.
        bloom: a saved filter to ask instead of reading the training text, with `--method bloom`.
        false_positive_rate: bound for the filter.
        n_threads: threads; 0 is one per processor, at most 8.
    """
    from fourhorn.memorization.overlap import overlap as measure

    results = measure(
        list(tests),
        [str(t) for t in train or []],
        destination,
        tokenizer=tokenizer or (Path("tokenizer") if unit == "bpe" and Path("tokenizer").is_dir() else None),
        unit=unit,
        ngram=ngram,
        method=method,
        against=against,
        bloom=bloom,
        false_positive_rate=false_positive_rate,
        n_threads=n_threads,
    )
    for name, result in results.items():
        print(f"{name}: {_line(result)}")
    print(
        f"Wrote {len(results)} result{'s' * (len(results) != 1)} to {destination}.\nNext: fourhorn report ."
    )


def _line(result: dict[str, Any]) -> str:
    if result["overlap"] is None:
        return f"shorter than one {result['ngram']}-gram"
    return (
        f"{100 * result['overlap']:.2f} % of {result['n_ngrams']:,} {result['ngram']}-grams ({result['unit']}) are in "
        f"{result['against']}; {100 * result['unique_overlap']:.2f} % of the distinct ones"
    )


def recitation(
    samples: Path,
    /,
    *,
    train: list[Path],
    destination: Path = Path("overlap"),
    name: str = "",
    min_bytes: int = 24,
    passages: Path | None = None,
    model: Path | None = None,
    max_new_tokens: int = 256,
) -> None:
    """Find the longest verbatim runs of samples in the training text, and probe for passages known by heart.

    Args:
        samples: samples: a record file or folder with `completion` or `text`.
        train: training text: record files or folders of shards.
        destination: folder for the result.
        name: what the samples are called; default their file's or folder's name.
        min_bytes: shortest run that is looked for, in bytes.
        passages: records with `name`, `prompt` and `rest` to probe for; default the Gettysburg Address.
        model: a checkpoint or run folder that goes on with each passage greedily; default none.
        max_new_tokens: tokens it may write; a context too short for both loses the passage's beginning.
    """
    from fourhorn.memorization.recitation import recitation as find

    result = find(
        samples,
        [str(t) for t in train],
        destination,
        name=name,
        min_bytes=min_bytes,
        passages=passages,
        model=model,
        max_new_tokens=max_new_tokens,
    )
    longest = result["longest"][0]["n_characters"] if result["longest"] else 0
    print(
        f"{result['samples']}: {result['n_samples']:,} samples, median longest run {result['median_characters']} "
        f"characters, longest of all {longest:,}."
    )
    for probe in result["probes"]:
        recited = f", {probe['recited_words']} words recited" if "recited_words" in probe else ""
        if probe.get("n_cut"):
            recited += f" (the context is too short for the first {probe['n_cut']} of its {probe['n_prompt']} tokens)"
        print(f"{probe['name']}: begins {probe['n_occurrences']:,} times in the training text{recited}.")
    print(f"Wrote {destination}/{result['samples']}.recitation.json.\nNext: fourhorn report .")


def scores(results: Path, overlaps: Path = Path("overlap"), /) -> None:
    """Score a model with and without the items that overlap with the training text (§4).

    Args:
        results: a model's result folder, `results/NAME`.
        overlaps: the folder that `fourhorn overlap` wrote; the new files go there too.
    """
    from fourhorn.memorization.scores import scores as compare

    written = compare(results, overlaps)
    for task, value in written.items():
        for row in value["rows"]:
            every, without = row["all"]["value"], row["without"]["value"]
            above = f"{row['n_with']:,} above {100 * row['threshold']:.0f} % overlap"
            print(
                f"{task}, {row['metric']}: {every:.2f} on all {row['n']:,} items, {without:.2f} without the {above}"
            )
    print(f"Wrote {len(written)} result{'s' * (len(written) != 1)} to {overlaps}.\nNext: fourhorn report .")


def bloom_build(
    train: list[Path],
    /,
    *,
    destination: Path,
    tokenizer: Path | None = None,
    unit: Literal["bpe", "words"] = "bpe",
    ngram: int = 8,
    n_items: int = 0,
    false_positive_rate: float = 1e-8,
    n_threads: int = 0,
) -> None:
    """Build a Bloom filter over the n-grams of training text, to ask any test set against later.

    Args:
        train: training text: record files or folders of shards.
        destination: file for the filter.
        tokenizer: vocabulary for `--unit bpe`: a folder or file.
        unit: BPE tokens of the normalized text (the paper's) or words.
        ngram: length of an n-gram, in units.
        n_items: n-grams that the filter must hold at its rate; 0 counts them first. Give the total of all parts when
            several are built to be merged.
        false_positive_rate: bound for the rate.
        n_threads: threads; 0 is one per processor, at most 8.
    """
    from fourhorn.memorization.overlap import build_filter

    filter_ = build_filter(
        [str(t) for t in train],
        tokenizer=tokenizer,
        unit=unit,
        ngram=ngram,
        n_items=n_items,
        false_positive_rate=false_positive_rate,
        n_threads=n_threads,
    )
    filter_.save(destination)
    print(f"{filter_.describe()}\nWrote {destination}.")
    print(f"Next: fourhorn overlap TEST --method bloom --bloom {destination}")


def bloom_merge(parts: list[Path], /, *, destination: Path) -> None:
    """Merge filters that were built apart with the same --n-items into one.

    Args:
        parts: filters of the same shape.
        destination: file for the merged filter.
    """
    from fourhorn.memorization.bloom import BloomFilter

    merged = BloomFilter.load(parts[0])
    for part in parts[1:]:
        merged.merge(BloomFilter.load(part))
    merged.save(destination)
    print(f"{merged.describe()}\nWrote {destination}.")


def bloom_check(path: Path, /, *, n_probes: int = 10_000_000, seed: int = 0) -> None:
    """Probe a filter with random n-grams that no text has, as the paper did with a million strings.

    Args:
        path: the filter.
        n_probes: random n-grams to ask for.
        seed: seed of the random n-grams.
    """
    from fourhorn.memorization.bloom import BloomFilter

    filter_ = BloomFilter.load(path)
    n_hits = filter_.probe(n_probes, seed)
    print(
        f"{filter_.describe()}\n{n_hits:,} of {n_probes:,} strangers taken for members ({n_hits / n_probes:.2e})."
    )
