"""Recorded steps compute what `TorchDecoder` computes. Without a card the recording is the function called again."""

import pytest
import torch

from fourhorn.sampling import graphs
from fourhorn.sampling.batching import BatchEngine
from fourhorn.sampling.decoder import TorchDecoder, make_decoder
from fourhorn.sampling.generate import complete
from fourhorn.sampling.graphs import GraphDecoder


class Again:
    """Runs a function before it is needed, as recording does, and calls it again for each replay."""

    def __init__(self) -> None:
        self.n_recorded = 0

    def __call__(self, function):
        self.n_recorded += 1
        function()
        place = function()

        def replay():
            place.copy_(function())  # a replay writes its result where the recording's was
            return place

        return replay


@pytest.fixture
def decoders(model, monkeypatch):
    """The plain decoder and the recorded one of three slots, whose spans are short."""
    monkeypatch.setattr(graphs, "SPAN", 16)
    monkeypatch.setattr(graphs, "WIDTHS", (4, 8))
    return TorchDecoder(model, 3), GraphDecoder(model, 3, record=Again())


def test_steps_of_any_slots_at_any_lengths_are_those_of_the_plain_decoder(decoders):
    generator = torch.Generator().manual_seed(0)
    held = []
    for slot, n in ((0, 3), (1, 17), (2, 1)):
        prompt = torch.randint(256, (n,), generator=generator).tolist()
        plain, recorded = (d.read([slot], [prompt], as_steps=False) for d in decoders)
        assert torch.allclose(plain, recorded, atol=1e-5)
    for step in range(30):
        slots = [[0, 1, 2], [2, 0], [1], [2]][step % 4]
        tokens = [[t] for t in torch.randint(256, (len(slots),), generator=generator).tolist()]
        plain, recorded = (d.read(slots, tokens) for d in decoders)
        assert torch.allclose(plain, recorded, atol=1e-5)
        held.append((plain, recorded))
    assert decoders[0].lengths == decoders[1].lengths
    for plain, recorded in held:  # logits are the caller's: a later step does not write into them
        assert torch.allclose(plain, recorded, atol=1e-5)
    # 35 tokens at most: steps of spans 16, 32 and 48, and a prompt's part
    assert decoders[1]._record.n_recorded <= 4


def test_copies_truncations_and_guesses_go_on_as_in_the_plain_decoder(decoders):
    for decoder in decoders:
        decoder.read([0], [list(range(20))])
        decoder.copy(0, 2, 12)
        decoder.truncate(0, 9)
    tokens_of = {0: [5, 6, 7, 8, 9], 2: [1, 2, 3]}
    for slots, tokens in (([0, 2], [[5], [6]]), ([2, 0], [tokens_of[2], tokens_of[0]]), ([0, 2], [[7], [8]])):
        plain, recorded = (d.read(slots, tokens, every=True, as_steps=True) for d in decoders)
        assert torch.allclose(plain, recorded, atol=1e-5)


def test_a_slot_is_read_to_the_end_of_its_context_and_no_further(decoders):
    n_ctx = decoders[0].n_ctx
    for decoder in decoders:
        decoder.read([1], [[3] * (n_ctx - 7)])
    for n in (2, 4):  # filled up to four, and without room for that
        plain, recorded = (d.read([1], [[2] * n], every=True) for d in decoders)
        assert torch.allclose(plain, recorded, atol=1e-5)
    plain, recorded = (d.read([1], [[4]]) for d in decoders)
    assert torch.allclose(plain, recorded, atol=1e-5)
    with pytest.raises(ValueError, match=f"{n_ctx + 1} tokens exceed the cache's {n_ctx}"):
        decoders[1].read([1], [[4]])


def test_the_engine_gives_the_same_texts_with_recorded_steps(model, tokenizer):
    prompts = ["a", "Once upon a time", "the", "longer than the others by far"]
    options = {"max_new_tokens": 20, "temperature": 0.8, "top_k": 20, "seed": 3}
    recorded = BatchEngine(None, tokenizer, decoder=GraphDecoder(model, 3, record=Again()))
    plain = BatchEngine(None, tokenizer, decoder=TorchDecoder(model, 3))
    texts = [
        [c[0].text for c in complete(None, tokenizer, prompts, engine=engine, **options)]
        for engine in (recorded, plain)
    ]
    assert texts[0] == texts[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_a_card_replays_are_the_steps_of_the_plain_decoder(random_model, precision):
    model = random_model(n_ctx=300).cuda()
    decoder = make_decoder(model, 3, precision=precision)
    assert isinstance(decoder, GraphDecoder)
    plain = TorchDecoder(decoder.model, 3)
    for slot, n in ((0, 3), (1, 120), (2, 1)):
        for one in (decoder, plain):
            one.read([slot], [[5] * n], as_steps=False)
    for step in range(20):  # slot 1 passes from one recording to the next
        slots = [[0, 1, 2], [2, 0], [1]][step % 3]
        tokens = [[step + slot] for slot in slots]
        found, expected = decoder.read(slots, tokens), plain.read(slots, tokens)
        assert torch.allclose(found, expected, atol=1e-4 if precision == "float32" else 0.1)
    found, expected = (
        one.read([2], [list(range(30))], every=True, as_steps=True) for one in (decoder, plain)
    )
    assert torch.allclose(found, expected, atol=1e-4 if precision == "float32" else 0.1)
