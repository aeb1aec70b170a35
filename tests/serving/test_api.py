"""What the API takes, what it gives, and what it refuses."""

import json

import pytest

from .fakes import TOKEN, FakeSystem, running

HOSTILE = "</script><script>alert(1)</script> \u202e مرحبا 👩‍👩‍👧 " + "x" * 100


@pytest.fixture(scope="module")
def api():
    mixed = FakeSystem("base", "token_ensemble")
    with running({"tuned": FakeSystem(), "base": mixed}) as found:
        yield found


def events(response):
    """Name and data of each server-sent event."""
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = fields["data"]
        data = data if data == "[DONE]" else json.loads(data)
        found.append((fields.get("event"), data))
    return found


def test_an_answer_comes_with_its_passages(api):
    response = api.ask("  who is Pell ")
    assert response.status_code == 200
    reply = response.json()
    assert (reply["answer"], reply["question"]) == ("Pell", "who is Pell")
    assert reply["probability"] == pytest.approx(0.3679, abs=1e-4)
    assert [p["weight"] for p in reply["passages"]] == [0.75, 0.25]
    assert reply["passage_answers"] == ["Pell", "Isk"]


def test_closed_book_has_no_passages(api):
    assert api.ask(retrieval=False).json()["passages"] == []


def test_an_answer_streams(api):
    found = events(api.ask(stream=True))
    names = [name for name, _ in found]
    assert names == ["passages", "growing", "growing", "answer"]
    assert found[0][1]["passages"][0]["title"] == "Pell"
    assert found[2][1] == {"passage": 0, "text": "so far"}
    assert found[3][1]["answer"] == "Pell"


def test_hostile_text_comes_back_as_it_was(api):
    assert api.ask(HOSTILE).json()["question"] == HOSTILE


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("model", ["tuned", "base"])
def test_openais_shapes(api, path, model):
    is_chat = "chat" in path
    messages = [{"role": "user", "content": "who is Pell"}]
    asked = {"messages": messages} if is_chat else {"prompt": "who is Pell"}
    asked |= {"model": model, "max_tokens": 100, "temperature": 0, "seed": 3}
    whole = api.client.post(path, json=asked).json()
    choice = whole["choices"][0]
    answer = choice["message"]["content"] if is_chat else choice["text"]
    assert answer == ("Pell" if model == "tuned" else "so far Pell")
    assert choice["finish_reason"] == "stop"
    assert whole["metadata"]["passages"][0]["document_id"] == "pell.md"
    assert whole["usage"]["total_tokens"] == 15
    options = {"stream": True, "stream_options": {"include_usage": True}}
    parts = [data for _, data in events(api.client.post(path, json=asked | options))]
    assert parts[-1] == "[DONE]"
    assert parts[-2]["usage"] == whole["usage"]
    assert parts[-3]["metadata"] == whole["metadata"]
    assert parts[-3]["choices"][0]["finish_reason"] == "stop"
    texts = [
        choice["delta"].get("content", "") if is_chat else choice["text"]
        for part in parts[:-1]
        for choice in part["choices"]
    ]
    assert "".join(texts) == answer
    # Only a mixture of tokens grows; one of whole answers comes whole.
    assert len([t for t in texts if t]) == (1 if model == "tuned" else 3)


def test_a_message_of_parts(api):
    parts = [{"type": "text", "text": "who is Pell"}]
    asked = {"messages": [{"role": "user", "content": parts}]}
    found = api.client.post("/v1/chat/completions", json=asked).json()
    assert found["choices"][0]["message"]["content"] == "Pell"


def test_models_are_listed(api):
    found = api.client.get("/v1/models").json()["data"]
    assert [one["id"] for one in found] == ["tuned", "base"]


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"question": ["a"]}, 422, "the question is a list; give a text"),
        ({"question": None}, 422, "there is no question"),
        ({"question": " \n"}, 422, "the question is empty"),
        ({"question": "a" * 201}, 422, "201 characters, more than the 200"),
        ({"question": "a\ud800"}, 422, r"half a character, '\\ud800'"),
        ({"model": "gpt"}, 404, r"no model 'gpt' here; there is \['tuned', 'base'\]"),
        ({"model": 3}, 422, "model is a whole number; give a text"),
        ({"retrieval": 1}, 422, "retrieval is a whole number; give true or false"),
        ({"stream": "yes"}, 422, "stream is a text; give true or false"),
        ({"quesion": "a"}, 422, r"unknown field\(s\) \['quesion'\]; there are"),
    ],
)
def test_bad_questions(api, fields, status, message):
    response = api.client.post(
        "/ask",
        content=json.dumps({"question": "who"} | fields),
        headers={"content-type": "application/json"},
    )
    assert response.status_code == status
    said = response.json()["error"]["message"]
    assert pytest.raises(ValueError, _raise, said).match(message)


def _raise(message):
    raise ValueError(message)


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        ("completions", {"prompt": ["a", "b"]}, "the question is a list"),
        ("completions", {"prompt": "a", "n": 2}, "n is 2, but this server answers"),
        ("completions", {"prompt": "a", "temperature": 0.7}, "answers with 0.0"),
        ("completions", {"prompt": "a", "max_tokens": 4}, "have up to 16 tokens"),
        ("completions", {"prompt": "a", "top_k": 4}, "unknown field"),
        ("chat/completions", {}, "the messages are of []"),
        ("chat/completions", {"messages": "a"}, "messages is a text; give a list"),
        (
            "chat/completions",
            {"messages": [{"role": "system"}, {"role": "user"}]},
            "of ['system', 'user']; this server answers single questions",
        ),
    ],
)
def test_what_openais_shapes_can_not_ask(api, path, fields, message):
    response = api.client.post(f"/v1/{path}", json=fields)
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b'{"question": ', "application/json", 400, "the body is no JSON"),
        (b"\xff\xfe", "application/json", 400, "the body is no JSON"),
        (b"[" * 4000, "application/json", 400, "the body is no JSON"),
        (b"[]", "application/json; charset=utf-8", 422, "the body is a list"),
        (b'{"question": "a"}', "text/plain", 415, "type is text/plain; send JSON"),
        (b" " * 5000, "application/json", 413, "more than 4096 bytes"),
    ],
)
def test_bad_bodies(api, body, kind, status, message):
    headers = {"content-type": kind}
    response = api.client.post("/ask", content=body, headers=headers)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/ask", 405), ("GET", "/nothing", 404)]
)
def test_other_paths(api, method, path, status):
    response = api.client.request(method, path)
    assert response.status_code == status
    assert path in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"host": "evil.example"}, "answers to 127.0.0.1, not to 'evil.example'"),
        ({"host": "[::1"}, r"not to '\[::1'"),
        ({"origin": "https://evil.example"}, "a page of https://evil.example may not"),
        ({"origin": "null"}, "a page of null may not ask"),
    ],
)
def test_other_sites_may_not_ask(api, headers, message):
    response = api.client.post("/ask", json={"question": "who"}, headers=headers)
    assert response.status_code == 403
    said = response.json()["error"]["message"]
    assert pytest.raises(ValueError, _raise, said).match(message)


def test_health_and_metrics(api):
    assert api.client.get("/healthz").json()["models"] == ["tuned", "base"]
    api.ask()
    found = api.client.get("/metrics")
    assert found.headers["content-type"].startswith("text/plain")
    assert 'radit_requests_total{route="/ask",status="200"}' in found.text
    assert "radit_answer_tokens_total" in found.text
    assert "radit_waiting_questions 0.0" in found.text


def test_every_reply_forbids_what_it_does_not_need(api):
    for path in ("/", "/healthz", "/nothing"):
        headers = api.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer é".encode(), 401),
    ],
)
def test_a_token(token_api, given, status):
    headers = {} if given is None else {"authorization": given}
    for response in (
        token_api.client.get("/v1/models", headers=headers),
        token_api.client.get("/metrics", headers=headers),
        token_api.client.post("/ask", json={"question": "a"}, headers=headers),
        token_api.client.post("/v1/completions", json={"prompt": "a"}, headers=headers),
    ):
        assert response.status_code == status
        if status == 401:
            assert response.headers["www-authenticate"] == "Bearer"
            assert "token is missing or wrong" in response.json()["error"]["message"]
    assert token_api.client.get("/healthz").status_code == 200


@pytest.fixture(scope="module")
def token_api():
    with running(token=TOKEN) as found:
        yield found
