"""The server against its own description: whatever fits it or breaks it, no 5xx and only described bodies.

`FOURHORN_FULL=1` makes more than 5,000 calls instead of some 60.
"""

import collections
import os

import pytest
from hypothesis import HealthCheck, given, settings

from fourhorn.serving.protocol import CompletionRequest

schemathesis = pytest.importorskip("schemathesis")
SEMANTIC = [pytest.importorskip("schemathesis.specs.openapi.checks").positive_data_acceptance]
N_CALLS = 14_000 if os.environ.get("FOURHORN_FULL") == "1" else 60
NO_LIMITS = settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False
)


def test_no_call_that_fits_or_breaks_the_description_is_answered_5xx(start):
    counts: collections.Counter[int] = collections.Counter()
    with start(("tiny",), max_sequences=32, n_ctx=32) as server:
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) == 9
        modes = list(schemathesis.GenerationMode)
        with_body = [operation for operation in operations if operation.method == "post"]
        for operation in operations:
            share = N_CALLS // (2 * len(with_body)) // 2 if operation in with_body else 10
            for mode in modes if operation in with_body else modes[:1]:
                strategy = operation.as_strategy(generation_mode=mode)

                @settings(NO_LIMITS, max_examples=share * (2 if "completions" in operation.path else 1))
                @given(case=strategy)
                def call(case):
                    response = case.call(timeout=60)
                    counts[response.status_code] += 1
                    if sum(counts.values()) % 500 == 0:
                        print(f"{sum(counts.values())} calls, {dict(sorted(counts.items()))}", flush=True)
                    assert response.status_code < 500, (case.body, response.text)
                    # the description cannot say that best_of must be n or more, or what the context holds
                    case.validate_response(response, excluded_checks=SEMANTIC)

                call()
    print(
        f"\nSchemathesis {schemathesis.__version__}: {sum(counts.values())} calls, {dict(sorted(counts.items()))}"
    )
    assert counts[200] > 5
    assert counts[400] > 5


def test_prompts_are_told_apart_by_their_type():
    assert CompletionRequest(prompt="a").prompts == ["a"]
    assert CompletionRequest(prompt=["a", "b"]).prompts == ["a", "b"]
    assert CompletionRequest(prompt=[1, 2]).prompts == [[1, 2]]
    assert CompletionRequest(prompt=[[1], [2, 3]]).prompts == [[1], [2, 3]]
