"""Hugging Face folders, with `transformers` itself as the truth."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from fourhorn.checkpoints import huggingface, native
from fourhorn.checkpoints.load import load
from fourhorn.errors import UserError

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    return huggingface.write(checkpoint, tmp_path_factory.mktemp("hf") / "model")


def test_transformers_loads_an_export_and_generates_the_same_greedy_text(exported, checkpoint):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(exported).eval()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    ours = native.model_of(checkpoint)
    prompt = "the four silver unicorns 🦄 of the valley"
    tokens = checkpoint.tokenizer.encode_ordinary(prompt)
    assert their_tokenizer.encode(prompt) == tokens
    with torch.no_grad():
        for _ in range(12):
            tokens.append(int(ours(torch.tensor([tokens]))[0, -1].argmax()))
    start = torch.tensor([tokens[:-12]])
    theirs_text = theirs.generate(start, max_new_tokens=12, do_sample=False, eos_token_id=-1, pad_token_id=0)
    assert theirs_text[0].tolist() == tokens
    assert their_tokenizer.decode(tokens) == checkpoint.tokenizer.decode(tokens)


def test_logits_agree_with_transformers(exported, checkpoint):
    theirs = transformers.GPT2LMHeadModel.from_pretrained(exported).eval()
    tokens = torch.arange(40).reshape(2, 20)
    with torch.no_grad():
        torch.testing.assert_close(
            native.model_of(checkpoint)(tokens), theirs(tokens).logits, atol=1e-5, rtol=0
        )


def test_a_pipeline_runs_on_an_export(exported):
    pipe = transformers.pipeline("text-generation", model=str(exported))
    assert pipe("the unicorn", max_new_tokens=3)[0]["generated_text"].startswith("the unicorn")


def test_a_folder_saved_by_transformers_is_read(tmp_path, checkpoint):
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=8, n_positions=16, vocab_size=296)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="6KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    checkpoint.tokenizer.save(tmp_path)
    ours, _ = load(tmp_path)
    tokens = torch.arange(16)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation_function", "relu"),
        ("scale_attn_by_inverse_layer_idx", True),
        ("layer_norm_epsilon", 1e-6),
        ("n_inner", 100),
        ("tie_word_embeddings", False),
    ],
)
def test_a_setting_that_changes_the_mathematics_is_refused(exported, tmp_path, name, value):
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(fields | {name: value}))
    with pytest.raises(UserError, match=name):
        load(tmp_path)


def test_a_head_of_its_own_is_refused_and_a_copy_of_the_embedding_is_not(exported, tmp_path):
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["transformer.wte.weight"].clone()
    save_file(weights, tmp_path / "model.safetensors")
    load(tmp_path)
    weights["lm_head.weight"] += 1
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="head of its own"):
        load(tmp_path)


def test_an_index_that_names_a_file_outside_its_folder_is_refused(exported, tmp_path):
    (tmp_path / "config.json").write_bytes((exported / "config.json").read_bytes())
    index = {"weight_map": {"wte.weight": "../model.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="outside its folder"):
        load(tmp_path)


def test_old_names_without_prefix_and_mask_buffers_are_read(exported, checkpoint, tmp_path):
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = {
        name.removeprefix("transformer."): value
        for name, value in load_file(tmp_path / "model.safetensors").items()
    }
    weights["h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
    save_file(weights, tmp_path / "model.safetensors")
    assert torch.equal(load(tmp_path)[0].wte.weight, checkpoint.weights["wte.weight"])
