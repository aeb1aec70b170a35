"""Preparing and reading sets: files at hand first, whole or not at all, counted."""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
from etils import epath

from radit_jax.instruct.tasks import files, sources
from radit_jax.instruct.tasks.task import Drop, Published, SourceError, Task, Tfds
from radit_jax.types import Instruction

RECORDS = [
    {
        "id": f"é{number}",
        "question": "Why?",
        "grade": number / 4,
        "number": number,
        "odd": number % 2 == 1,
        "options": ["ja", "nei"][:number],
        "turns": [{"who": "a", "said": ["x"] * place} for place in range(number)],
        "source": {"page": "π", "lines": [7, 8]},
    }
    for number in range(5)
]
FIELDS = {
    "id": str,
    "question": str,
    "grade": float,
    "number": int,
    "odd": bool,
    "options": [str],
    "turns": [{"who": str, "said": [str]}],
    "source": {"page": str, "lines": [int]},
}


def read_json(paths):
    for path in paths:
        yield from json.loads(path.read_text())


def as_they_are(record):
    answers = (json.dumps(record, sort_keys=True),)
    yield Instruction(f"toy:{record['id']}", record["question"], answers)


def toy(instructions=as_they_are, **changes):
    source = {
        "version": "1.2.0",
        "homepage": "https://toy.example/files",
        "files": {"train": ("a.json", "b.json"), "validation": ("c.json",)},
        "urls": {"a.json": "https://toy.invalid/a.json"},
        "fields": FIELDS,
        "read": read_json,
    }
    return Task("toy", "open_qa", Published(**source | changes), "MIT", instructions)


@pytest.fixture
def manual_dir(tmp_path):
    """The files of `toy`, brought by hand."""
    folder = tmp_path / "manual" / "toy"
    folder.mkdir(parents=True)
    parts = {"a": RECORDS[:2], "b": RECORDS[2:4], "c": RECORDS[4:]}
    for name, records in parts.items():
        (folder / f"{name}.json").write_text(json.dumps(records))
    return folder.parent


def test_records_come_as_they_went_in_the_files_order(manual_dir, tmp_path):
    sources.prepare(toy(), tmp_path / "sets", manual_dir)
    found = {
        split: [json.loads(one.answers[0]) for one in sources.read(*arguments)]
        for split in ("train", "validation")
        if (arguments := (toy(), split, tmp_path / "sets"))
    }
    assert found == {"train": RECORDS[:4], "validation": RECORDS[4:]}
    assert sources.splits(toy()) == ("train", "validation")


def test_every_record_is_counted(manual_dir, tmp_path):
    def odd_ones(record):
        if record["number"] == 0:
            yield Drop("first of all")
        if record["number"] == 1:
            yield Instruction("toy:1", "Why?", ("so",))
            yield Instruction("toy:1", "Why again?", ("so",))
            yield Drop("a part of one")
        if record["number"] == 2:
            yield Instruction("toy:2", "Why?", ("", " "))
        if record["number"] == 3:
            yield Instruction("toy:3", " ", ("so",))

    sources.prepare(toy(), tmp_path, manual_dir)
    summary = sources.Summary()
    found = list(sources.read(toy(odd_ones), "train", tmp_path, summary))
    assert found == [
        Drop("first of all"),
        Instruction("toy:1", "Why?", ("so",)),
        Drop("repeats an id"),
        Drop("a part of one"),
        Drop("no answer"),
        Drop("no question"),
    ]
    assert (summary.records, summary.kept, summary.dropped.total()) == (4, 1, 5)
    assert str(summary) == (
        "4 records, 1 kept, 5 dropped (1 a part of one, 1 first of all, 1 no answer, "
        "1 no question, 1 repeats an id)"
    )


def test_a_record_that_gives_nothing_is_a_bug(manual_dir, tmp_path):
    sources.prepare(toy(), tmp_path, manual_dir)
    silent = toy(lambda record: iter(()) if record["odd"] else as_they_are(record))
    with pytest.raises(SourceError, match="toy: record 1 of train gives neither"):
        list(sources.read(silent, "train", tmp_path))


def test_one_file_of_all_splits(manual_dir, tmp_path):
    def read_marked(paths):
        for record in read_json(paths):
            yield record | {"part": ("train", "validation", "test")[record["number"]]}

    files_of_splits = {"train": ("b.json",), "validation": ("b.json",)}
    task = toy(files=files_of_splits, read=read_marked, split_field="part")
    numbers = [{**RECORDS[2], "number": number} for number in (1, 2, 0)]
    (manual_dir / "toy" / "b.json").write_text(json.dumps(numbers))
    sources.prepare(task, tmp_path, manual_dir)
    for split, number in (("train", 0), ("validation", 1)):
        (found,) = sources.read(task, split, tmp_path)
        assert json.loads(found.answers[0])["number"] == number


def test_a_prepared_set_stays_until_it_is_overwritten(manual_dir, tmp_path):
    sources.prepare(toy(), tmp_path, manual_dir)
    first = sources.fingerprint(toy(), tmp_path)
    (manual_dir / "toy" / "c.json").write_text(json.dumps(RECORDS[1:2]))
    sources.prepare(toy(), tmp_path, manual_dir)
    assert sources.fingerprint(toy(), tmp_path) == first
    sources.prepare(toy(), tmp_path, manual_dir, overwrite=True)
    assert sources.fingerprint(toy(), tmp_path) != first
    (manual_dir / "toy" / "c.json").write_text(json.dumps(RECORDS[4:]))
    sources.prepare(toy(), tmp_path, manual_dir, overwrite=True)
    assert sources.fingerprint(toy(), tmp_path) == first


def test_half_a_set_is_never_taken_for_whole(manual_dir, tmp_path):
    def break_off(paths):
        yield from read_json(paths)
        raise KeyError("turns")

    message = r"toy, train: .*a\.json.* beyond record 4: KeyError\('turns'\)"
    with pytest.raises(SourceError, match=message):
        sources.prepare(toy(read=break_off), tmp_path, manual_dir)
    with pytest.raises(SourceError, match=r"toy is not prepared.*prepare_tasks"):
        list(sources.read(toy(), "train", tmp_path))
    with pytest.raises(SourceError, match="toy is not prepared"):
        sources.fingerprint(toy(), tmp_path)
    sources.prepare(toy(), tmp_path, manual_dir)
    assert len(list(sources.read(toy(), "train", tmp_path))) == 4


def test_a_split_without_records_is_told(manual_dir, tmp_path):
    (manual_dir / "toy" / "c.json").write_text("[]")
    with pytest.raises(SourceError, match=r"toy, validation: .*there are none"):
        sources.prepare(toy(), tmp_path, manual_dir)


def test_an_unknown_split_is_told(manual_dir, tmp_path):
    with pytest.raises(SourceError, match="no split 'dev'; it has train, validation"):
        list(sources.read(toy(), "dev", tmp_path))


def test_missing_files_are_told_together(manual_dir, tmp_path):
    (manual_dir / "toy" / "a.json").unlink()
    (manual_dir / "toy" / "c.json").unlink()
    message = (
        r"toy needs a\.json \(https://toy\.invalid/a\.json\), c\.json, .*"
        r"toy\.invalid can't be reached.*no address.*https://toy\.example/files"
    )
    with pytest.raises(SourceError, match=f"{message}.*into {manual_dir}/toy, then"):
        sources.prepare(toy(), tmp_path, manual_dir)
    with pytest.raises(SourceError, match=r"--manual_dir=\{FOLDER\}"):
        sources.prepare(toy(), tmp_path)


@pytest.fixture
def publisher(manual_dir, monkeypatch):
    """The address of the files of `toy`."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    handler = functools.partial(QuietHandler, directory=manual_dir / "toy")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_files_are_downloaded_once(publisher, manual_dir, tmp_path):
    urls = {name: f"{publisher}/{name}" for name in ("a.json", "b.json", "c.json")}
    sources.prepare(toy(urls=urls), tmp_path)
    assert len(list(sources.read(toy(), "train", tmp_path))) == 4
    downloads = tmp_path / "downloads" / "toy"
    assert set(urls) <= {path.name for path in downloads.iterdir()}
    (manual_dir / "toy" / "b.json").write_text("[]")
    sources.prepare(toy(urls=urls), tmp_path, overwrite=True)
    assert len(list(sources.read(toy(), "train", tmp_path))) == 4


def test_a_file_that_is_gone_is_told(publisher, tmp_path):
    urls = {name: f"{publisher}/gone/{name}" for name in ("a.json", "b.json", "c.json")}
    with pytest.raises(SourceError, match=r"toy needs a\.json .*HTTP code: 404"):
        sources.prepare(toy(urls=urls), tmp_path)


def publisher_files(downloads):
    return files.PublisherFiles(
        "toy", "https://toy.example", epath.Path(downloads), None
    )


def test_downloads_get_the_publishers_names_and_are_kept(tmp_path):
    found = publisher_files(tmp_path)
    asked = []

    def download(urls):
        asked.extend(urls.items())
        for name in urls:
            (tmp_path / f"mangled-{name}").write_text(name)
        return {name: tmp_path / f"mangled-{name}" for name in urls}

    urls = {"a.json": "http://127.0.0.1/a.json"}
    for _ in range(2):
        (path,) = found.fetch(urls, download).values()
        assert (path.name, path.read_text()) == ("a.json", "a.json")
    assert asked == list(urls.items())


def test_a_failed_download_is_told(tmp_path):
    found = publisher_files(tmp_path)

    def download(urls):
        raise ConnectionError("reset by peer")

    with pytest.raises(
        SourceError, match=r"toy needs a\.json .*reset by peer.*Get the"
    ):
        found.fetch({"a.json": "http://127.0.0.1/a.json"}, download)


SQUAD = Task("squad_v2", "reading_comprehension", Tfds("squad/v2.0"), "", as_they_are)


def test_what_another_builder_can_not_read_is_told(tmp_path):
    folder = tmp_path / "manual" / "squad_v2"
    folder.mkdir(parents=True)
    for name in ("train-v2.0.json", "dev-v2.0.json"):
        (folder / name).write_text('{"data": [{}]}')
    message = r"can't build squad_v2 from its files: KeyError.*manual/squad_v2 and"
    with pytest.raises(SourceError, match=message):
        sources.prepare(SQUAD, tmp_path, tmp_path / "manual")


def test_another_builders_files_are_named_as_it_knows_them(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError("name unknown")

    monkeypatch.setattr(files.socket, "getaddrinfo", unknown)
    monkeypatch.setattr(files.urllib.request, "getproxies", dict)
    message = r"train-v2\.0\.json \(https://rajpurkar.*dev-v2\.0\.json.*name unknown"
    with pytest.raises(SourceError, match=message):
        sources.prepare(SQUAD, tmp_path)


def test_what_tensorflow_prepared_is_refused(manual_dir, tmp_path):
    folder = tmp_path / "radit_toy" / "1.2.0"
    folder.mkdir(parents=True)
    (folder / "radit_toy-train.tfrecord-00000-of-00001").write_bytes(b"")
    for use in (
        lambda: sources.prepare(toy(), tmp_path, manual_dir),
        lambda: sources.fingerprint(toy(), tmp_path),
    ):
        with pytest.raises(SourceError, match="not in the ArrayRecord format"):
            use()


def test_without_the_extra_its_name_is_told(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "radit_jax.instruct.tasks.builder", raising=False)
    monkeypatch.delattr("radit_jax.instruct.tasks.builder", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(SourceError, match=r"pip install 'radit_jax\[data\]'"):
        sources.prepare(toy(), tmp_path)


def test_the_names_of_the_sets_cost_no_heavy_import():
    program = (
        "import sys\n"
        "from radit_jax.instruct.tasks import TASKS, sources\n"
        "assert len(TASKS) == 22\n"
        "assert 'tensorflow_datasets' not in sys.modules\n"
    )
    environment = os.environ | {"PYTHONPATH": str(epath.Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
