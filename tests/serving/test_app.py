"""The other routes, and what the server says before it starts."""

import socket

import pytest
import requests

from fourhorn.errors import UserError
from fourhorn.serving.run import check_options, listen, name_of


def test_tokenize_and_detokenize_are_inverse(server):
    text = "the four unicorns 🦄 <|endoftext|>"
    found = requests.post(f"{server.url}/tokenize", json={"prompt": text}).json()
    assert found["tokens"] == server.tokenizer.encode_ordinary(text)
    assert found["count"] == len(found["tokens"])
    assert found["max_model_len"] == 128
    assert found["token_strs"][0] == "the"
    back = requests.post(f"{server.url}/detokenize", json={"tokens": found["tokens"]}).json()
    assert back == {"prompt": text}


def test_detokenize_refuses_ids_outside_the_vocabulary(server):
    answer = requests.post(f"{server.url}/detokenize", json={"tokens": [99999]})
    assert answer.status_code == 400
    assert "not in the vocabulary" in answer.json()["error"]["message"]


def test_health_needs_nothing(server):
    assert requests.get(f"{server.url}/health").json() == {"status": "ok"}


def test_unknown_routes_and_methods_are_answered_in_openais_shape(server):
    for method, path, status in (
        ("GET", "/v1/engines", 404),
        ("GET", "/v1/completions", 405),
        ("PUT", "/", 405),
    ):
        answer = requests.request(method, server.url + path)
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_description_names_every_error_and_no_foreign_shape(server):
    found = requests.get(f"{server.url}/openapi.json").json()
    assert "HTTPValidationError" not in found["components"]["schemas"]
    for path in found["paths"].values():
        for operation in path.values():
            assert {"400", "401", "404", "413", "429"} <= set(operation["responses"])
            assert "422" not in operation["responses"]


def test_serving_the_world_needs_a_key():
    with pytest.raises(UserError, match="--api-key"):
        check_options(("model",), "0.0.0.0", None)
    check_options(("model",), "0.0.0.0", "long enough")
    check_options(("model",), "127.0.0.1", None)
    with pytest.raises(UserError, match="at least 8"):
        check_options(("model",), "127.0.0.1", "short")
    with pytest.raises(UserError, match="fourhorn serve 124M"):
        check_options((), "127.0.0.1", None)


def test_a_taken_port_is_told_before_a_model_is_loaded():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="Choose another --port or --host"):
            listen("127.0.0.1", taken.getsockname()[1])


def test_models_are_called_after_their_folders():
    assert name_of("runs/pocket", {}) == "pocket"
    assert name_of("runs/pocket/checkpoint", {}) == "pocket"
    assert name_of("model.gguf", {}) == "model"
    assert name_of("other/pocket", {"pocket": 0}) == "pocket-2"


def test_the_listener_names_tcp_so_that_no_answer_waits_for_the_one_before():
    """asyncio sets TCP_NODELAY on the connections of such a socket alone."""
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
