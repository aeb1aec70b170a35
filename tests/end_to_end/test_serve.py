"""Serving a finished run: the real engine behind the server, and what it refuses."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from launch import ask, cli, served
from radit_jax.artifacts import ArtifactError
from radit_jax.serving.asked import Asked, RequestError
from radit_jax.serving.page import About
from radit_jax.workdir import Workdir
from tests.serving.fakes import running

QUESTIONS = [f"What is the river of {place} ?" for place in ("Corvia", "Galen")]


@pytest.fixture(scope="module")
def loaded(toy_run):
    return served.load(toy_run.config, toy_run.workdir, ("tuned", "base"), 4)


def test_answers_are_those_of_ask(toy_run, loaded):
    systems, about = loaded
    asked = [Asked(question, "tuned") for question in QUESTIONS]
    events = []
    replies = systems["tuned"].answer(asked, lambda *event: events.append(event))
    assert [(i, name) for i, name, _ in events] == [(0, "passages"), (1, "passages")]
    asker = ask.Asker(toy_run.config, toy_run.workdir, "ra_it", "tuned")
    for question, reply in zip(QUESTIONS, replies, strict=True):
        said = asker.ask(question)
        assert f"A: {reply.answer or '(nothing)'}   (p" in said
        for passage, own in zip(reply.passages, reply.passage_answers, strict=True):
            assert f"{passage.weight:5.1%}  {passage.document_id} → {own}" in said
        assert sum(p.weight for p in reply.passages) == pytest.approx(1, abs=1e-3)
    assert about.num_chunks == len(replies[0].passages)
    assert about.models["tuned"].startswith("the LM tuned to read passages")


@pytest.mark.parametrize("mode", ["answer_ensemble", "token_ensemble", "concatenate"])
def test_a_stream_ends_at_its_answer(toy_run, loaded, mode):
    predict = dataclasses.replace(toy_run.config.predict, mode=mode)
    config = dataclasses.replace(toy_run.config, predict=predict)
    system = served.load(config, toy_run.workdir, ("base",), 4)[0]["base"]
    asked = [
        Asked(QUESTIONS[0], "base", stream=True),
        Asked(QUESTIONS[1], "base", retrieval=False, stream=True),
        Asked(QUESTIONS[1], "base"),
    ]
    grown = {}

    def tell(i, name, data):
        if name == "growing":
            grown[i, data["passage"]] = data["text"]

    replies = system.answer(asked, tell)
    assert grown.get((1, -1), "") == replies[1].answer
    if mode == "answer_ensemble":
        own = [grown.get((0, i), "") for i in range(len(replies[0].passages))]
        assert own == list(replies[0].passage_answers)
    else:
        assert grown.get((0, -1), "") == replies[0].answer
        assert replies[0].passage_answers == ()
    assert not any(i == 2 for i, _ in grown)
    assert replies[1].passages == ()


def test_a_question_without_room_for_its_answer(loaded):
    with pytest.raises(RequestError, match="tokens, but the model has room for 59"):
        loaded[0]["tuned"].check(Asked("What is the river " * 12, "tuned"))


def test_many_at_once_and_none_is_lost(loaded):
    systems, about = loaded
    with running(systems, about, max_batch=4, max_waiting=64) as found:
        with ThreadPoolExecutor(40) as pool:
            jobs = [
                pool.submit(found.ask, question, model=model, retrieval=retrieval)
                for _ in range(10)
                for question in QUESTIONS
                for model in systems
                for retrieval in (True, False)
            ]
            replies = [job.result() for job in jobs]
    assert [reply.status_code for reply in replies] == [200] * 80
    first = [reply.json() for reply in replies[:8]]
    for reply, expected in zip(replies, first * 10, strict=True):
        got = reply.json()
        assert (got["question"], got["answer"]) == (
            expected["question"],
            expected["answer"],
        )


def test_missing_stages_are_named_with_their_commands(toy_run, tmp_path):
    with pytest.raises(ArtifactError) as raised:
        served.check(toy_run.config, Workdir(toy_run.world), ("tuned", "base"))
    for stage in ("chunk_corpus", "embed_corpus", "build_index", "finetune_lm"):
        assert f"run `python -m launch.{stage}" in str(raised.value)


def test_an_index_of_another_model_is_refused(toy_run, tmp_path):
    encoder = dataclasses.replace(
        toy_run.config.encoder, passage_path=f"{toy_run.world}/lm"
    )
    config = dataclasses.replace(toy_run.config, encoder=encoder)
    with pytest.raises(ArtifactError, match="embeddings by other passage_tower than"):
        served.load(config, toy_run.workdir, ("base",), 4)
    workdir = toy_run.copy(tmp_path / "run")
    manifest = workdir.embeddings / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"created"', '"made"'))
    with pytest.raises(ArtifactError, match="was tuned for other embeddings than"):
        served.load(toy_run.config, workdir, ("tuned",), 4)
    with pytest.raises(ArtifactError, match="was not built from the embeddings in"):
        served.load(toy_run.config, workdir, ("base",), 4)


def test_the_tuned_model_is_served_where_there_is_one(toy_run):
    assert served.choose(toy_run.workdir, ()) == ("tuned",)
    assert served.choose(Workdir(toy_run.world), ()) == ("base",)
    assert served.choose(toy_run.workdir, ("base", "base")) == ("base",)


def test_examples_are_dev_questions(toy_run, loaded):
    assert isinstance(loaded[1], About)
    dev = (toy_run.world / "dev.jsonl").read_text()
    assert len(loaded[1].examples) == 3
    assert all(f'"{example}"' in dev for example in loaded[1].examples)


@pytest.fixture
def process(toy_run, tmp_path):
    """The command itself, on a free port; its URL."""
    workdir = toy_run.copy(tmp_path / "run")
    cli.remember(toy_run.config, workdir)
    command = ("-m", "launch.serve", f"--workdir={workdir.path}", "--port=0")
    started = subprocess.Popen(
        [sys.executable, *command, "--max_batch=2", "--nowarm_up"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XLA_FLAGS": ""},
    )
    try:
        said = []
        while " at http" not in "".join(said[-1:]):
            said.append(started.stderr.readline())
            assert said[-1], "".join(said)
        yield started, said[-1].split(" at ")[1].strip()
    finally:
        started.kill()
        started.stderr.close()
        started.wait()


def test_the_command_serves_until_it_is_stopped(process):
    started, url = process
    with httpx2.Client(base_url=url, timeout=120) as client:
        _wait_until_ready(client)
        reply = client.post("/ask", json={"question": QUESTIONS[0]}).json()
        assert len(reply["passages"]) == 3
        with client.stream(
            "POST", "/ask", json={"question": QUESTIONS[1], "stream": True}
        ) as response:
            started.send_signal(signal.SIGTERM)
            text = response.read().decode()
    name, data = text.strip().split("\n\n")[-1].split("\n")
    # It was in hand, or it was told: no connection is just cut.
    if name == "event: error":
        assert json.loads(data[6:])["error"]["code"] == 503
    else:
        assert json.loads(data[6:])["question"] == QUESTIONS[1]
    assert "everybody was answered or told" in started.stderr.read()
    assert started.wait(60) == 0


def _wait_until_ready(client):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if client.get("/healthz").status_code == 200:
                return
        except httpx2.ConnectError:
            time.sleep(0.1)
    pytest.fail("not ready within a minute")
