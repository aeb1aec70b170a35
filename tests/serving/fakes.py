"""A model without a model, and a server around it in this process."""

import contextlib
import dataclasses
import threading
import time

import httpx2

from radit_jax.config import Config
from radit_jax.serving import server
from radit_jax.serving.answering import Service
from radit_jax.serving.app import make_app
from radit_jax.serving.metrics import Metrics
from radit_jax.serving.page import About, Page
from radit_jax.serving.reading import Limits
from radit_jax.serving.reply import Passage, Reply
from radit_jax.serving.system import System
from radit_jax.serving.worker import Worker

TOKEN = "a-token-of-some-length"
PASSAGE = Passage(7, "pell.md", "Pell", "", "Pell is a river.", 3.5, 0.75)
OTHER = dataclasses.replace(PASSAGE, id=8, title="", text="Isk is not.", weight=0.25)


class FakeSystem(System):
    """Answers with the question's last word, and waits at each batch if told to."""

    def __init__(self, name="tuned", mode="answer_ensemble", passages=(PASSAGE, OTHER)):
        self.name, self.config = name, Config()
        self.config.predict.mode = mode
        self.passages = passages
        self.batches = []
        self.began, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()

    def check(self, asked):
        pass

    def answer(self, asked, tell):
        self.batches.append([one.question for one in asked])
        for i, one in enumerate(asked):
            passages = self.passages if one.retrieval else ()
            tell(i, "passages", {"passages": passages})
        self.began.set()
        # As an engine does, which looks up at every token.
        while not self.may_go_on.wait(0.01):
            tell(0, "growing", {"passage": -1, "text": ""})
        if any("poison" in one.question for one in asked):
            raise RuntimeError("a question that breaks the engine")
        is_mixed = self.config.predict.mode == "token_ensemble"
        for i, one in enumerate(asked):
            place = -1 if is_mixed or not one.retrieval else 0
            for text in ("so", "so far") if one.stream else ():
                tell(i, "growing", {"passage": place, "text": text})
        return [self._reply(one) for one in asked]

    def _reply(self, asked):
        is_mixed = self.config.predict.mode == "token_ensemble"
        last = asked.question.split()[-1]
        return Reply(
            model=self.name,
            question=asked.question,
            retrieval=asked.retrieval,
            mode=self.config.predict.mode,
            answer=f"so far {last}" if is_mixed else last,
            log_probability=-1.0,
            passages=self.passages if asked.retrieval else (),
            passage_answers=() if is_mixed or not asked.retrieval else (last, "Isk"),
            num_truncated=0,
            prompt_tokens=12,
            answer_tokens=3,
            is_cut=False,
        )


@dataclasses.dataclass
class Running:
    """A server, and a client of it."""

    url: str
    server: server.Server
    worker: Worker
    client: httpx2.Client

    def ask(self, question="who is Pell", **fields):
        return self.client.post("/ask", json={"question": question, **fields})

    def wait_for(self, is_so):
        """Until the worker's thread has come so far."""
        end = time.monotonic() + 30
        while not is_so():
            assert time.monotonic() < end, "it did not happen within 30 s"
            time.sleep(0.01)


ABOUT = About({"tuned": "an LM"}, 5431, 2, "answer_ensemble", ("Who is Pell?",))


@contextlib.contextmanager
def running(
    systems=None, about=ABOUT, token=None, max_batch=4, max_waiting=8, grace_seconds=5.0
):
    """A server of these systems on a port of its own, until the block ends."""
    if systems is None:
        systems = {"tuned": FakeSystem()}
    metrics = Metrics()
    worker = Worker(systems, max_batch, max_waiting, metrics)
    service = Service(worker, metrics, Limits(4096, 200), token, 1_700_000_000)
    app = make_app(service, Page(service, about))
    with server.bind("127.0.0.1", 0) as bound:
        url = server.url(bound)
        own = server.Server(app, worker, grace_seconds)
        thread = threading.Thread(target=own.serve_on, args=(bound,))
        thread.start()
        limits = httpx2.Limits(max_connections=256)
        with httpx2.Client(base_url=url, timeout=60, limits=limits) as client:
            found = Running(url, own, worker, client)
            found.wait_for(lambda: own.started)
            yield found
        own.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
