"""fourhorn: the whole GPT-2 paper in one readable package, from a Reddit link to Table 6.

    model, tokenizer = fourhorn.load("124M")
    print(fourhorn.generate(model, tokenizer, "In a shocking finding,", max_new_tokens=64, top_k=40, seed=0))

Names are loaded when first used, so that `import fourhorn` is quick and imports no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fourhorn.checkpoints.load import load
    from fourhorn.checkpoints.native import save
    from fourhorn.evaluation.run import evaluate
    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2
    from fourhorn.sampling.generate import SamplingParams, generate, stream
    from fourhorn.tokenizer.tokenizer import Tokenizer
    from fourhorn.training.config import TrainConfig
    from fourhorn.training.finetune import finetune
    from fourhorn.training.loop import train

_HOME = {
    "GPT2": "fourhorn.model.transformer",
    "GPT2Config": "fourhorn.model.config",
    "SamplingParams": "fourhorn.sampling.generate",
    "Tokenizer": "fourhorn.tokenizer.tokenizer",
    "TrainConfig": "fourhorn.training.config",
    "evaluate": "fourhorn.evaluation.run",
    "finetune": "fourhorn.training.finetune",
    "generate": "fourhorn.sampling.generate",
    "load": "fourhorn.checkpoints.load",
    "save": "fourhorn.checkpoints.native",
    "stream": "fourhorn.sampling.generate",
    "train": "fourhorn.training.loop",
}

__all__ = [
    "GPT2",
    "GPT2Config",
    "SamplingParams",
    "Tokenizer",
    "TrainConfig",
    "evaluate",
    "finetune",
    "generate",
    "load",
    "save",
    "stream",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fourhorn' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
