"""What made a run: tokenizer statistics, what training cost, versions, hashes and hardware.

The energy is an estimate: the stated watts of the device over the measured seconds, without cooling or idle hosts.
FLOPs are those the run's summary counts; hours are of all processes together.
"""

from collections.abc import Sequence

from fourhorn.report import digits
from fourhorn.report.blocks import Cell, Column, Table
from fourhorn.report.paper import paper
from fourhorn.report.results import Workspace, clean, number, record

# Rated board power in watts, by a piece of the device's name; a processor is taken at 65 W whatever its cores.
WATTS = (
    ("B200", 1000),
    ("H200", 700),
    ("H100", 700),
    ("A100", 400),
    ("V100", 300),
    ("4090", 450),
    ("3090", 350),
    ("cuda", 400),
    ("mps", 30),
)
CPU_WATTS = 65


def tokenizers(works: Sequence[Workspace]) -> Table:
    """§2.2: vocabulary and compression."""
    text = paper()["text"]
    columns = [Column(""), Column("paper", kind="paper", numeric=True)]
    columns += [
        Column("ours" if len(works) == 1 else work.label, kind="ours", numeric=True) for work in works
    ]
    rows = {
        "vocabulary": [Cell(digits.count(text["model"]["n_vocab"]), "paper", numeric=True)],
        "context, tokens": [Cell(digits.count(text["model"]["n_ctx"]), "paper", numeric=True)],
        "text": [Cell(digits.n_bytes(text["webtext"]["n_bytes"]), "paper", numeric=True)],
        "documents": [Cell("8M, slightly over", "paper", numeric=True)],
        "tokens, train": [_absent()],
        "tokens, val": [_absent()],
        "tokens, test": [_absent()],
        "bytes per token": [_absent()],
        "merges learned": [Cell("50,000", "paper", numeric=True)],
    }
    for work in works:
        details = record(work.manifests.get("tokenizer", {}).get("details"))
        index = {split: {k: number(v) for k, v in found.items()} for split, found in work.tokens.items()}
        total = {
            k: sum(i.get(k) or 0 for i in index.values()) for k in ("n_tokens", "n_documents", "n_bytes_text")
        }
        ratio = total["n_bytes_text"] / total["n_tokens"] if total["n_tokens"] else None
        n_vocab = next(
            (i["n_vocab"] for i in index.values() if i.get("n_vocab")), number(details.get("n_vocab"))
        )
        n_ctx = work.models[-1].shape("n_ctx") if work.models else None
        merges = number(details.get("n_merges"))
        shown = [digits.count(n_vocab), digits.count(n_ctx), digits.n_bytes(total["n_bytes_text"] or None)]
        shown += [digits.count(total["n_documents"] or None)]
        shown += [digits.count(index.get(split, {}).get("n_tokens")) for split in ("train", "val", "test")]
        shown += [digits.decimal(ratio), digits.count(merges)]
        for cells, value in zip(rows.values(), shown, strict=True):
            cells.append(Cell(value, "ours" if value != digits.ABSENT else "none", numeric=True))
    table = [[Cell(name, "head"), *cells] for name, cells in rows.items()]
    notes = ["Byte-level BPE; bytes per token over all splits."]
    return Table("Tokenizer and data set", "", columns, table, notes, id="tokenizer-table")


def _absent() -> Cell:
    return Cell(digits.ABSENT, "none", numeric=True)


def watts(device: str) -> tuple[float, str]:
    """The watts assumed for a device, and the words for it."""
    for name, power in WATTS:
        if name.lower() in device.lower():
            return float(power), f"{power} W ({name})"
    return float(CPU_WATTS), f"{CPU_WATTS} W (processor)"


def cost(works: Sequence[Workspace]) -> Table:
    """Tokens, FLOPs, hours and energy of training."""
    columns = [Column("run")]
    columns += [
        Column(t, kind="ours", numeric=True)
        for t in ("tokens", "FLOPs", "time", "tokens/s", "peak memory", "energy, estimate")
    ]
    columns += [Column("device", kind="ours")]
    rows, assumed = [], []
    for work in works:
        energy_total, flops_total = 0.0, 0.0
        for model in work.models:
            s = {k: number(v) for k, v in model.summary.items()}
            device = clean(model.summary.get("device_name") or model.summary.get("device") or "")
            power, words = watts(device)
            n_devices = s.get("world_size") or 1.0
            spent = s.get("seconds")
            energy = None if spent is None else power * n_devices * spent / 3.6e6
            assumed += [words] if words not in assumed else []
            energy_total += energy or 0.0
            flops_total += s.get("flops") or 0.0
            name = clean(model.name) if len(works) == 1 else f"{work.label}: {clean(model.name)}"
            texts = [digits.short(s.get("n_tokens")), digits.flops(s.get("flops")), digits.seconds(spent)]
            texts += [
                digits.count(s.get("tokens_per_second")),
                digits.n_bytes(s.get("peak_memory_bytes")),
                kwh(energy),
            ]
            cells = [Cell(t, "ours", numeric=True) for t in texts]
            rows.append(
                [
                    Cell(name, "head", strong=True),
                    *cells,
                    Cell(f"{n_devices:g} × {device}" if device else digits.ABSENT),
                ]
            )
        if len(work.models) > 1:
            cells = [
                _absent(),
                Cell(digits.flops(flops_total), "ours", numeric=True, strong=True),
                _absent(),
                _absent(),
                _absent(),
            ]
            rows.append(
                [
                    Cell("together", "head"),
                    *cells,
                    Cell(kwh(energy_total), "ours", numeric=True, strong=True),
                    Cell(""),
                ]
            )
    if not rows:
        rows = [[Cell("No finished run.", "none"), *[_absent()] * 7]]
    notes = [
        "The paper prints no cost.",
        f"Energy is not measured: it assumes {', '.join(assumed) or 'nothing yet'} while training, without cooling.",
    ]
    return Table("Cost of training", "", columns, rows, notes, id="cost", wide=True)


def kwh(energy: float | None) -> str:
    """Kilowatt-hours, or watt-hours where they are few."""
    if energy is None:
        return digits.ABSENT
    return f"{energy:.3g} kWh" if energy >= 0.1 else f"{1000 * energy:.3g} Wh"


def provenance(works: Sequence[Workspace]) -> Table:
    """Versions and hashes of everything shown."""
    rows = []
    for work in works:
        prefix = "" if len(works) == 1 else f"{work.label}: "
        for folder, manifest in work.manifests.items():
            rows.append(
                _made(
                    prefix + folder,
                    "stage",
                    manifest.get("version"),
                    _digest(manifest.get("outputs")),
                    manifest.get("seconds"),
                )
            )
        for split, index in work.tokens.items():
            rows.append(
                _made(
                    f"{prefix}tokens/{split}",
                    "tokens",
                    index.get("version"),
                    _short(index.get("tokenizer_sha256")),
                    None,
                )
            )
        for model in work.models:
            digest = _short(model.config.get("sha256") or model.config.get("digest"))
            rows.append(
                _made(
                    f"{prefix}runs/{model.name}",
                    "model",
                    model.summary.get("version"),
                    digest,
                    model.summary.get("seconds"),
                )
            )
        for name in work.names:
            for task, result in work.results[name].items():
                digest = _short(result.get("data_sha256"))
                rows.append(
                    _made(
                        f"{prefix}results/{name}/{task}",
                        "result",
                        result.get("version"),
                        digest,
                        result.get("seconds"),
                    )
                )
    columns = [
        Column("what"),
        Column("kind"),
        Column("fourhorn"),
        Column("sha256"),
        Column("time", numeric=True),
    ]
    notes = [
        "sha256, first 12 digits: of a stage its outputs, of tokens their vocabulary, of a model its weights, "
        "of a result its data."
    ]
    if not rows:
        rows = [[Cell("Nothing was found.", "none"), *[Cell("")] * 4]]
    return Table("What made this", "", columns, rows, notes, id="provenance-table")


def _made(name: str, kind: str, version: object, digest: str, spent: object) -> list[Cell]:
    cells = [Cell(clean(name), "head"), Cell(kind), Cell(clean(version or digits.ABSENT)), Cell(digest)]
    return [*cells, Cell(digits.seconds(number(spent)), numeric=True)]


def _short(digest: object) -> str:
    return clean(digest)[:12] if isinstance(digest, str) and digest else digits.ABSENT


def _digest(outputs: object) -> str:
    if not isinstance(outputs, dict) or not outputs:
        return digits.ABSENT
    first = next(iter(outputs.values()))
    digest = _short(first.get("sha256") if isinstance(first, dict) else None)
    return digest if len(outputs) == 1 else f"{digest} and {len(outputs) - 1} more"
