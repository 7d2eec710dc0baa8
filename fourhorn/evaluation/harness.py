"""A fourhorn model inside lm-evaluation-harness: its tasks run unchanged on any checkpoint `fourhorn.load` takes.

    import lm_eval
    lm_eval.simple_evaluate(model=harness_model(model, tokenizer), tasks=["lambada_openai"])

Requests with the same context share its keys and values; rolling requests use the harness's own windows (stride = the
context length, one token of context). The harness is imported only when `harness_model` is called. Conventions are the
harness's: a context's trailing spaces belong to the continuation, and both are tokenized together.

Source: lm-evaluation-harness 0.4, `lm_eval.api.model.LM`.
"""

from collections.abc import Sequence
from typing import Any

from fourhorn.errors import UserError
from fourhorn.evaluation.generation import generate
from fourhorn.evaluation.scoring import Request, Scorer, window_request, windows

MAX_NEW_TOKENS = 256


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Context and continuation tokens as the harness cuts them."""
    n_spaces = len(context) - len(context.rstrip())
    if n_spaces:
        context, continuation = context[:-n_spaces], context[-n_spaces:] + continuation
    whole = list(tokenizer.encode_ordinary(context + continuation))
    head = list(tokenizer.encode_ordinary(context))
    return head, whole[len(head) :]


class Answers:
    """What a harness model must answer, without the harness."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int = 0) -> None:
        self.scorer = Scorer(model, tokenizer, batch_size)

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy) of each (context, continuation)."""
        encoded = [encode_pair(self.scorer.tokenizer, context, text) for context, text in pairs]
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, (context, _) in enumerate(encoded):
            groups.setdefault(tuple(context) or (self.scorer.eot,), []).append(i)
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(pairs)
        shared = [(context, members) for context, members in groups.items() if len(members) > 1]
        single = [members[0] for members in groups.values() if len(members) == 1]
        for i, score in zip(
            single, self.scorer.loglikelihoods([Request(*encoded[i]) for i in single]), strict=True
        ):
            answers[i] = (score.loglikelihood, score.is_greedy)
        found = self.scorer.choices(
            [(context, [encoded[i][1] for i in members]) for context, members in shared]
        )
        for (_, members), scores in zip(shared, found, strict=True):
            for i, score in zip(members, scores, strict=True):
                answers[i] = (score.loglikelihood, score.is_greedy)
        return answers

    def loglikelihood_rolling(self, texts: Sequence[str]) -> list[float]:
        """Log-likelihood in nats of whole texts, in disjoint windows."""
        scorer = self.scorer
        requests, owners = [], []
        for i, text in enumerate(texts):
            tokens = list(scorer.tokenizer.encode_ordinary(text))
            for window in windows(len(tokens), scorer.n_ctx, scorer.n_ctx):
                requests.append(window_request(tokens, window, scorer.eot))
                owners.append(i)
        totals = [0.0] * len(texts)
        for i, score in zip(owners, scorer.loglikelihoods(requests), strict=True):
            totals[i] += score.loglikelihood
        return totals

    def generate_until(self, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
        """Greedy continuations up to the first stop string."""
        scorer, answers = self.scorer, []
        for context, options in requests:
            if options.get("do_sample") or options.get("temperature"):
                raise UserError(
                    "The harness asked for sampling; fourhorn's harness model decodes greedily only."
                )
            until = options.get("until") or []
            stops = [until] if isinstance(until, str) else list(until)
            n_new = min(int(options.get("max_gen_toks", MAX_NEW_TOKENS)), scorer.n_ctx // 2)
            prompt = list(scorer.tokenizer.encode_ordinary(context))[-(scorer.n_ctx - n_new) :]

            def done(tokens: list[int], stops: list[str] = stops) -> bool:
                text = scorer.tokenizer.decode(tokens)
                return any(stop in text for stop in stops)

            stop_tokens = frozenset({scorer.eot})
            found = generate(scorer, [prompt], max_new_tokens=n_new, stop=stop_tokens, done=done)
            text = scorer.tokenizer.decode(found[0].tokens)
            for stop in stops:
                text = text.split(stop)[0] if stop else text
            answers.append(text)
        return answers


def harness_model(model: Any, tokenizer: Any, *, batch_size: int = 0) -> Any:
    """An instance of the harness's own model class around a fourhorn model."""
    try:
        from lm_eval.api.model import LM
    except ImportError:
        raise UserError("lm-evaluation-harness is not installed: pip install lm_eval") from None

    class FourhornLM(LM):
        def __init__(self) -> None:
            super().__init__()
            self.answers = Answers(model, tokenizer, batch_size)

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return self.answers.loglikelihood([request.args for request in requests])

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return self.answers.loglikelihood_rolling([request.args[0] for request in requests])

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return self.answers.generate_until([request.args for request in requests])

    return FourhornLM()
