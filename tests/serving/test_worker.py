"""The queue: batches, its bound, clients that leave, failures and the stop."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from radit_jax.serving import server
from radit_jax.serving.server import ServingError

from .fakes import FakeSystem, running


def held(name="tuned"):
    """A system that waits in its first batch."""
    system = FakeSystem(name)
    system.may_go_on.clear()
    return system


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as found:
        yield found


def queue_up(found, pool, system, questions, **fields):
    """One question that the system is held in, and these behind it, in order."""
    jobs = [pool.submit(found.ask, "the first", **fields)]
    assert system.began.wait(30)
    for number, question in enumerate(questions, start=1):
        jobs.append(pool.submit(found.ask, question, **fields))
        found.wait_for(lambda number=number: len(found.worker._waiting) == number)
    return jobs


def statuses(jobs):
    return [job.result().status_code for job in jobs]


def test_what_waits_is_answered_together(pool):
    system = held()
    with running({"tuned": system}, max_batch=4) as found:
        jobs = queue_up(found, pool, system, ["a", "b", "c", "d", "e"])
        system.may_go_on.set()
        assert [job.result().json()["answer"] for job in jobs] == [
            *("first", "a", "b", "c", "d", "e")
        ]
    assert system.batches == [["the first"], ["a", "b", "c", "d"], ["e"]]


def test_a_batch_is_of_one_model(pool):
    tuned, base = held(), FakeSystem("base")
    with running({"tuned": tuned, "base": base}) as found:
        jobs = queue_up(found, pool, tuned, ["a"])
        jobs += [pool.submit(found.ask, "b", model="base")]
        found.wait_for(lambda: len(found.worker._waiting) == 2)
        jobs += [pool.submit(found.ask, "c")]
        found.wait_for(lambda: len(found.worker._waiting) == 3)
        tuned.may_go_on.set()
        assert statuses(jobs) == [200] * 4
    assert tuned.batches == [["the first"], ["a", "c"]]
    assert base.batches == [["b"]]


def test_a_full_queue_says_when_to_come_back(pool):
    system = held()
    with running({"tuned": system}, max_waiting=2) as found:
        jobs = queue_up(found, pool, system, ["a", "b"])
        refused = found.ask("c")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "2 questions wait already" in refused.json()["error"]["message"]
        system.may_go_on.set()
        assert statuses(jobs) == [200] * 3
        assert found.ask("c").status_code == 200


def open_stream(found, question, stream=True):
    """A request on a socket of its own, that can hang up."""
    host, port = found.url.split("/")[2].split(":")
    opened = socket.create_connection((host, int(port)))
    body = json.dumps({"question": question, "stream": stream})
    opened.sendall(
        f"POST /ask HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json"
        f"\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return opened


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_its_place(pool, stream):
    system = held()
    with running({"tuned": system}, max_waiting=1) as found:
        jobs = queue_up(found, pool, system, [])
        gone = open_stream(found, "gone", stream)
        found.wait_for(lambda: len(found.worker._waiting) == 1)
        assert found.ask("refused").status_code == 429
        gone.close()
        found.wait_for(lambda: not found.worker._waiting)
        jobs.append(pool.submit(found.ask, "next"))
        found.wait_for(lambda: len(found.worker._waiting) == 1)
        system.may_go_on.set()
        assert statuses(jobs) == [200, 200]
        assert "radit_hangups_total 1.0" in found.client.get("/metrics").text
    assert system.batches == [["the first"], ["next"]]


def test_a_batch_that_all_have_left_is_given_up(pool):
    system = held()
    with running({"tuned": system}) as found:
        gone = open_stream(found, "gone")
        assert system.began.wait(30)
        heard = b""
        while b"event: passages" not in heard:
            heard += gone.recv(4096)
        gone.close()
        # The system is still held: it is the hang-up that ends its batch.
        found.wait_for(lambda: found.worker._running[0].is_gone)
        job = pool.submit(found.ask, "next")
        found.wait_for(lambda: len(system.batches) == 2)
        system.may_go_on.set()
        assert job.result().json()["answer"] == "next"


def test_only_the_question_that_breaks_the_engine_fails(pool, caplog):
    system = held()
    with running({"tuned": system}) as found:
        jobs = queue_up(found, pool, system, ["a", "poison", "b"])
        system.may_go_on.set()
        assert statuses(jobs) == [200, 200, 500, 200]
        said = jobs[2].result().json()["error"]["message"]
        assert "failed to answer this question; its log says why" in said
        streamed = found.ask("poison", stream=True)
        assert streamed.status_code == 200
        assert 'event: error\ndata: {"error"' in streamed.text
        assert found.ask("c").status_code == 200
    assert "a question that breaks the engine" in caplog.text


def test_a_stop_answers_what_runs_and_tells_the_others(pool):
    system = held()
    with running({"tuned": system}) as found:
        jobs = queue_up(found, pool, system, ["a", "b"])
        streamed = pool.submit(found.ask, "c", stream=True)
        found.wait_for(lambda: len(found.worker._waiting) == 3)
        found.server.should_exit = True
        found.wait_for(lambda: not found.worker.is_alive)
        late = found.ask("late")
        assert (late.status_code, late.headers["retry-after"]) == (503, "5")
        assert found.client.get("/healthz").status_code == 503
        assert statuses(jobs[1:]) == [503, 503]
        assert '"code": 503' in streamed.result().text
        system.may_go_on.set()
        assert jobs[0].result().json()["answer"] == "first"


def test_a_stop_waits_no_longer_than_its_grace(pool):
    system = held()
    with running({"tuned": system}, grace_seconds=0.2) as found:
        jobs = queue_up(found, pool, system, [])
        found.server.should_exit = True
        assert statuses(jobs) == [503]
    system.may_go_on.set()


def test_two_hundred_at_once_and_none_is_lost():
    system = FakeSystem()
    with running({"tuned": system}, max_batch=8, max_waiting=256) as found:
        with ThreadPoolExecutor(200) as many:
            ready = threading.Barrier(200)

            def ask(number):
                ready.wait()
                return found.ask(f"number {number}").json()["answer"]

            answers = list(many.map(ask, range(200)))
    assert answers == [str(number) for number in range(200)]
    assert sum(map(len, system.batches)) == 200


def test_a_port_in_use():
    with server.bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"port {port} of 127.0.0.1 is in use"):
            server.bind("127.0.0.1", port)


def test_an_address_of_another_machine():
    with pytest.raises(ServingError, match="of 192.0.2.1 can't be taken: .* Give"):
        server.bind("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "token", "message"),
    [
        ("0.0.0.0", None, "lets other machines ask, and there is no token. Set"),
        ("0.0.0.0", "short", "the token has 5 characters; give at least 16"),
        ("127.0.0.1", "short", "the token has 5 characters"),
    ],
)
def test_other_machines_need_a_token(host, token, message):
    with pytest.raises(ServingError, match=message):
        server.check_host(host, token)


def test_this_machine_needs_none():
    server.check_host("127.0.0.1", None)
    server.check_host("::1", None)
