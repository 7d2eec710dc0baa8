import threading

import pytest

from fourhorn.sampling.batching import BatchEngine
from fourhorn.sampling.decoder import TorchDecoder
from fourhorn.sampling.settings import SamplingParams

LONG = SamplingParams(max_new_tokens=40, stop_at_eot=False)


def test_sequences_join_and_leave_while_others_run(model, tokenizer):
    engine = BatchEngine(model, tokenizer, max_sequences=2)
    lengths = [3, 30, 5, 1, 7]
    requests = [engine.submit("ab", LONG.but(max_new_tokens=n, seed=n)) for n in lengths]
    widths = []
    while engine.step():
        widths.append((engine.n_running, engine.n_waiting))
    assert [len(r.tokens) for r in requests] == lengths
    assert max(running for running, _ in widths) == 2
    assert len(widths) < 35  # the four short ones shared the second slot while the long one ran
    alone = BatchEngine(model, tokenizer, max_sequences=1)
    for request in requests:
        same = alone.submit("ab", request.params)
        alone.run()
        assert same.tokens == request.tokens


def test_a_shared_beginning_is_computed_once(model, tokenizer):
    engine = BatchEngine(model, tokenizer, max_sequences=4)
    prompt = list(range(40))
    requests = [engine.submit(prompt, LONG.but(max_new_tokens=5, seed=i)) for i in range(4)]
    engine.run()
    assert [r.n_reused for r in requests] == [0, 39, 39, 39]
    follow_up = engine.submit(prompt + requests[0].tokens + [7], LONG.but(max_new_tokens=3))
    engine.run()
    assert follow_up.n_reused == 40
    fresh = BatchEngine(model, tokenizer)
    same = fresh.submit(follow_up.prompt, follow_up.params)
    fresh.run()
    assert (same.tokens, same.n_reused) == (follow_up.tokens, 0)


def test_events_add_up_to_the_text_and_the_last_names_the_reason(model, tokenizer):
    with_thread = BatchEngine(model, tokenizer).start()
    request = with_thread.submit("a", LONG.but(n_logprobs=2))
    events = list(request)
    with_thread.close()
    assert "".join(event.text for event in events) == request.text
    assert [event.token for event in events] == request.tokens
    assert [event.finish_reason for event in events] == [None] * 39 + ["length"]
    assert all(len(event.top_logprobs) == 2 for event in events)


def test_a_cancelled_request_gets_no_further_step(model, tokenizer):
    engine = BatchEngine(model, tokenizer)
    request, other = engine.submit("a", LONG), engine.submit("b", LONG)
    for _ in range(5):
        engine.step()
    n = len(request.tokens)
    request.cancel()
    engine.step()
    assert (len(request.tokens), request.finish_reason, engine.n_running) == (n, "cancelled", 1)
    engine.run()
    assert len(other.tokens) == 40
    request.cancel()
    assert request.finish_reason == "cancelled"


def test_a_cancelled_request_in_the_queue_never_starts(model, tokenizer):
    engine = BatchEngine(model, tokenizer, max_sequences=1)
    first, second = engine.submit("a", LONG), engine.submit("b", LONG)
    second.cancel()
    engine.run()
    assert (len(first.tokens), second.tokens, second.finish_reason) == (40, [], "cancelled")


def test_many_threads_submit_and_each_gets_its_own_answer(model, tokenizer):
    engine = BatchEngine(model, tokenizer, max_sequences=8).start()
    greedy = SamplingParams(temperature=0.0, max_new_tokens=10)
    texts = {}

    def ask(name):
        texts[name] = engine.submit(name * 3, greedy).wait(60).tokens

    threads = [threading.Thread(target=ask, args=(chr(65 + i),)) for i in range(20)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    engine.close()
    for name, tokens in texts.items():
        single = BatchEngine(model, tokenizer, max_sequences=1)
        request = single.submit(name * 3, greedy)
        single.run()
        assert tokens == request.tokens


def test_a_failing_step_ends_its_requests_and_the_next_one_works(model, tokenizer):
    class Failing(TorchDecoder):
        fail = True

        def read(self, *args, **options):
            if self.fail:
                raise MemoryError("no room")
            return super().read(*args, **options)

    decoder = Failing(model, 2)
    engine = BatchEngine(None, tokenizer, decoder=decoder).start()
    with pytest.raises(MemoryError, match="no room"):
        engine.submit("a", LONG).wait(30)
    decoder.fail = False
    assert len(engine.submit("a", LONG).wait(30).tokens) == 40
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit("a")


def test_closing_ends_what_still_runs(model, tokenizer):
    engine = BatchEngine(model, tokenizer, max_sequences=1)
    requests = [engine.submit("a", LONG), engine.submit("b", LONG)]
    engine.step()
    engine.close()
    assert [r.finish_reason for r in requests] == ["cancelled", "cancelled"]


def test_asking_for_no_tokens_ends_at_once_beside_running_sequences(model, tokenizer):
    engine = BatchEngine(model, tokenizer)
    running, nothing = engine.submit("a", LONG), engine.submit("b", SamplingParams(max_new_tokens=0))
    engine.run()
    assert (len(running.tokens), nothing.tokens, nothing.finish_reason) == (40, [], "length")
