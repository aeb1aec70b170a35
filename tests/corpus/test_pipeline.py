"""Chunking a corpus: blocks, bad records, cleaning, and going on after a kill."""

import dataclasses
import json

import numpy as np
import pytest
from etils import epath

from radit_jax.config import CorpusConfig
from radit_jax.corpus import (
    blocks,
    cleaning,
    contamination,
    duplicates,
    formats,
    pipeline,
    store,
)
from radit_jax.corpus.json_lines import CorpusError
from tests.corpus.test_wet import wet_record


class Killed(BaseException):
    """Not an Exception: no handler may catch it, as none catches kill -9."""


@pytest.fixture(autouse=True)
def _read_benchmarks_again():
    contamination.read_benchmarks.cache_clear()


def words(name, num):
    return " ".join(f"{name}{i}" for i in range(num))


def write(path, records):
    lines = (one if isinstance(one, str) else json.dumps(one) for one in records)
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def documents(num):
    return [{"id": f"d{i}", "text": words(f"t{i}x", 12 + i % 3)} for i in range(num)]


def run(corpus, folder):
    folder.mkdir(exist_ok=True)
    return pipeline.write_store(corpus, folder), store.ChunkStore(folder)


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_documents_become_shards_in_reading_order(tmp_path):
    path = write(tmp_path / "d.jsonl", documents(7))
    corpus = CorpusConfig(path, max_chunk_words=11, block_documents=3)
    counts, chunks = run(corpus, tmp_path / "out")
    assert [shard.num_chunks for shard in chunks.shards] == [6, 6, 2]
    assert [chunk.id for chunk in chunks] == list(range(14))
    assert [chunk.document_id for chunk in chunks] == [f"d{i // 2}" for i in range(14)]
    texts = [one["text"] for one in documents(7)]
    for chunk in chunks:
        whole = texts[int(chunk.document_id[1:])]
        assert whole[chunk.start : chunk.start + len(chunk.text)] == chunk.text
    assert counts == {
        "records": 7,
        "documents": 7,
        "short_documents": 0,
        "chunks": 14,
        "words": 90,
        "bad_records": 0,
        "skipped": {},
    }
    assert sorted(contents(tmp_path / "out")) == [
        *store.shard_names(3),
        "chunks.json",
        "dead_letters.jsonl",
    ]


def test_small_files_share_a_block_and_large_ones_are_parts(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(words(name, 9))
    parts = formats.parts(tmp_path)
    assert blocks.groups(parts) == [tuple(parts)]
    size = parts[0] and blocks.stored_bytes(parts[0])
    assert blocks.groups(parts, size + 1) == [tuple(parts[:2]), tuple(parts[2:])]
    assert blocks.groups([]) == []


def test_every_number_of_shares_makes_the_same_store(tmp_path, monkeypatch):
    path = write(tmp_path / "d.jsonl", documents(20))
    corpus = CorpusConfig(path, block_documents=3)
    run(corpus, tmp_path / "one")
    monkeypatch.setattr(pipeline.runner, "num_workers", lambda _: 3)
    run(corpus, tmp_path / "three")
    assert contents(tmp_path / "three") == contents(tmp_path / "one")


def test_a_share_writes_its_own_blocks_alone(tmp_path):
    path = write(tmp_path / "d.jsonl", documents(20))
    writer = blocks.ShareWriter(CorpusConfig(path, block_documents=3), tmp_path)
    writer(blocks.Share(5, tuple(formats.parts(path)), number=1, of=3))
    found = sorted(file.stem for file in tmp_path.glob("*.json"))
    assert found == ["000005-000001", "000005-000004"]


def test_short_documents_give_no_chunk_and_are_counted(tmp_path):
    path = write(tmp_path / "d.jsonl", [*documents(2), {"id": "s", "text": "too few"}])
    counts, chunks = run(CorpusConfig(path), tmp_path / "out")
    assert (counts["short_documents"], counts["documents"], len(chunks)) == (1, 3, 2)
    with pytest.raises(CorpusError, match="no chunk: its 1 doc.* fewer than 5 words"):
        path = write(tmp_path / "e.jsonl", [{"text": "too few"}])
        run(CorpusConfig(path), tmp_path / "none")


def test_web_text_has_shorter_chunks(tmp_path):
    page = wet_record("conversion", "https://a.example/", words("w", 19) + ".")
    (tmp_path / "a.wet").write_bytes(page)
    corpus = CorpusConfig(str(tmp_path / "a.wet"), max_web_chunk_words=11)
    _, chunks = run(corpus, tmp_path / "out")
    assert [len(chunk.text.split()) for chunk in chunks] == [9, 10]


def test_no_more_documents_than_asked_for(tmp_path, monkeypatch):
    for name in "ab":
        records = [{"id": f"{name}{i}", "text": words(name, 6)} for i in range(5)]
        write(tmp_path / f"{name}.jsonl", ["{", *records])
    corpus = CorpusConfig(str(tmp_path), max_documents=7, block_documents=3)
    corpus.max_bad_share = 0.5
    for group_bytes in (1, 1 << 20):
        monkeypatch.setattr(
            blocks, "groups", lambda parts, size=group_bytes, f=GROUPS: f(parts, size)
        )
        counts, chunks = run(corpus, tmp_path.parent / f"{tmp_path.name}{group_bytes}")
        found = [chunk.document_id for chunk in chunks]
        assert found == ["a0", "a1", "a2", "a3", "a4", "b0", "b1"]
        assert counts["documents"] == 7
    corpus.max_documents = 100
    assert len(run(corpus, tmp_path.parent / f"{tmp_path.name}-all")[1]) == 10


GROUPS = blocks.groups


def test_few_bad_records_are_listed_with_their_places(tmp_path):
    records = documents(6)
    records[2:2] = ['{"text": ', '{"text": "' + "é" * 2000]
    path = write(tmp_path / "d.jsonl", records)
    corpus = CorpusConfig(path, max_bad_share=0.25, block_documents=3)
    counts, chunks = run(corpus, tmp_path / "out")
    assert (counts["bad_records"], counts["records"], len(chunks)) == (2, 8, 6)
    lines = (tmp_path / "out" / "dead_letters.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert first["place"] == "d.jsonl:3"
    assert "not valid JSON" in first["reason"]
    assert first["record"] == '{"text": \n'
    assert len(second["record"]) < 1000


def test_too_many_bad_records_end_the_run_and_cost_no_work(tmp_path, monkeypatch):
    path = write(tmp_path / "d.jsonl", [*documents(8), "{", "["])
    corpus = CorpusConfig(path, max_bad_share=0.1, block_documents=3)
    out = tmp_path / "out"
    message = (
        r"(?s)2 problem\(s\) in 10 records, a share of 0.2 .*max_bad_share=0.1 may be."
        r" Correct them, or raise it.* - d.jsonl:9 is not .* - d.jsonl:10 is not"
    )
    with pytest.raises(CorpusError, match=message):
        run(corpus, out)
    assert [file.suffix for file in out.iterdir()] == [".tmp"]
    monkeypatch.setattr(blocks._Block, "write", None)  # nothing is written again
    corpus.max_bad_share = 0.2
    assert run(corpus, out)[0]["chunks"] == 8


def test_work_of_another_corpus_is_not_gone_on_with(tmp_path):
    path = write(tmp_path / "d.jsonl", ["{", *documents(3)])
    out = epath.Path(tmp_path / "out")
    out.mkdir()
    with pytest.raises(CorpusError, match="1 problem"):
        pipeline.write_store(CorpusConfig(path), out, "first")
    write(tmp_path / "d.jsonl", documents(3))
    counts = pipeline.write_store(CorpusConfig(path), out, "second")
    assert (counts["bad_records"], counts["documents"]) == (0, 3)
    assert not list(out.glob("blocks*"))


def test_a_misnamed_field_ends_the_run_at_once(tmp_path, monkeypatch):
    path = write(tmp_path / "d.jsonl", [{"body": "x"}] * 100 + documents(1))
    monkeypatch.setattr(pipeline, "_write_blocks", None)
    with pytest.raises(CorpusError, match="none of the first 100 records can be read"):
        run(CorpusConfig(path), tmp_path / "out")


def test_no_documents(tmp_path):
    with pytest.raises(CorpusError, match="holds no documents, of 0 records; left out"):
        run(CorpusConfig(write(tmp_path / "d.jsonl", [])), tmp_path / "out")


def test_damaged_files_are_told_together(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl.gz").write_bytes(b"\x1f\x8bxx")
    write(tmp_path / "0.jsonl", documents(100))
    with pytest.raises(CorpusError, match=r"(?s)can't be read to their end:.*a.jsonl"):
        run(CorpusConfig(str(tmp_path)), tmp_path.parent / f"{tmp_path.name}out")


def test_a_repeated_id_is_a_bad_record(tmp_path):
    records = documents(9)
    records[4]["id"] = records[8]["id"] = "d1"
    path = write(tmp_path / "d.jsonl", records)
    with pytest.raises(CorpusError, match="d.jsonl:5 repeats the id 'd1'. Give every"):
        run(CorpusConfig(path), tmp_path / "refused")
    corpus = CorpusConfig(path, max_bad_share=0.5, block_documents=4)
    counts, chunks = run(corpus, tmp_path / "out")
    assert (counts["bad_records"], counts["documents"]) == (2, 7)
    assert [chunk.document_id for chunk in chunks] == [
        *("d0", "d1", "d2", "d3", "d5", "d6", "d7")
    ]
    assert chunks[1].text == records[1]["text"]
    lines = (tmp_path / "out" / "dead_letters.jsonl").read_text().splitlines()
    assert [json.loads(line)["place"] for line in lines] == ["d.jsonl:5", "d.jsonl:9"]


def test_a_web_page_crawled_again_is_skipped(tmp_path):
    page = wet_record("conversion", "https://a.example/", words("w", 9) + ".")
    (tmp_path / "a.wet").write_bytes(page)
    (tmp_path / "b.wet").write_bytes(page)
    counts, chunks = run(CorpusConfig(str(tmp_path)), tmp_path.parent / "web_out")
    assert counts["skipped"] == {"web page crawled before": 1}
    assert (counts["bad_records"], len(chunks)) == (0, 1)


def similar(name, num_changed):
    """Of 60 words, the last ones changed: 56 shingles, fewer of them shared."""
    changed = [f"{name}{i}" for i in range(num_changed)]
    return words("s", 60 - num_changed) + " " + " ".join(changed)


DUPLICATES = [
    {"id": "a", "text": similar("a", 1)},
    {"id": "other", "text": words("o", 30)},
    {"id": "exact", "text": similar("a", 1).upper().replace(" ", ", ")},
    {"id": "near", "text": similar("b", 4)},
    {"id": "far", "text": similar("c", 20)},
    {"id": "other again", "text": words("o", 30) + "!"},
]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("", ["a", "other", "exact", "near", "far", "other again"]),
        ("exact", ["a", "other", "near", "far"]),
        ("near", ["a", "other", "far"]),
    ],
)
@pytest.mark.parametrize("slice_hashes", [1 << 24, 2])
def test_duplicates_go_and_the_first_stays(
    tmp_path, monkeypatch, kind, kept, slice_hashes
):
    monkeypatch.setattr(cleaning, "_SLICE_HASHES", slice_hashes)
    no_chunks = [{"text": "too few"}] * 2  # a block of them
    path = write(tmp_path / "d.jsonl", [*no_chunks, *DUPLICATES, *no_chunks])
    corpus = CorpusConfig(path, drop_duplicates=kind, block_documents=2)
    counts, chunks = run(corpus, tmp_path / "out")
    assert [chunk.document_id for chunk in chunks] == kept
    assert counts["words"] == sum(len(chunk.text.split()) for chunk in chunks)
    found = [counts.get(f"{kind}_duplicates") for kind in ("exact", "near")]
    assert found == {"": [None, None], "exact": [2, None], "near": [2, 1]}[kind]


def test_near_duplicates_are_compared_truly(tmp_path, monkeypatch):
    """Bands only propose: with every pair proposed, the same ones go."""

    def same_bands(_, similarity):
        return np.zeros(duplicates.num_bands(similarity)[0], np.uint64)

    monkeypatch.setattr(duplicates, "bands", same_bands)
    monkeypatch.setattr(cleaning, "_PAIRS_TOGETHER", 2)
    path = write(tmp_path / "d.jsonl", DUPLICATES)
    corpus = CorpusConfig(path, drop_duplicates="near")
    _, chunks = run(corpus, tmp_path / "out")
    assert [chunk.document_id for chunk in chunks] == ["a", "other", "far"]
    # 52 of 60 shingles are shared with "a": 0.867.
    corpus.near_duplicate_similarity = 0.9
    _, chunks = run(corpus, tmp_path / "strict")
    assert [c.document_id for c in chunks] == ["a", "other", "near", "far"]


QUESTION = {"id": "q", "question": words("s", 12), "answers": ["s12 s13", "no"]}


def test_contaminated_chunks_are_listed_or_dropped(tmp_path):
    path = write(tmp_path / "d.jsonl", DUPLICATES)
    benchmarks = write(tmp_path / "q.jsonl", [QUESTION])
    corpus = CorpusConfig(path, decontaminate="list", benchmarks=benchmarks)
    corpus = dataclasses.replace(corpus, block_documents=2, drop_duplicates="exact")
    counts, chunks = run(corpus, tmp_path / "list")
    lines = (tmp_path / "list" / "contaminated.jsonl").read_text().splitlines()
    ids = [(one["chunk"], one["document_id"]) for one in map(json.loads, lines)]
    assert ids == [(0, "a"), (None, "exact"), (2, "near"), (3, "far")]
    assert chunks[2].document_id == "near"
    assert json.loads(lines[0]) == {
        "chunk": 0,
        "document_id": "a",
        "start": 0,
        "question": "q",
        "ngram": words("s", 13),
    }
    assert counts["contaminated_chunks"] == 4
    assert (counts["benchmark_questions"], counts["benchmark_questions_too_short"]) == (
        *(1, 0),
    )
    corpus.decontaminate = "drop"
    counts, chunks = run(corpus, tmp_path / "drop")
    assert [chunk.document_id for chunk in chunks] == ["other"]
    assert (counts["exact_duplicates"], counts["contaminated_chunks"]) == (1, 4)


def test_a_corpus_of_nothing_but_benchmarks(tmp_path):
    path = write(tmp_path / "d.jsonl", DUPLICATES[:1])
    benchmarks = write(tmp_path / "q.jsonl", [QUESTION])
    corpus = CorpusConfig(path, decontaminate="drop", benchmarks=benchmarks)
    with pytest.raises(CorpusError, match="all 1 chunks .* share 13 words with a que"):
        run(corpus, tmp_path / "out")


def test_what_is_dropped_makes_nothing_a_duplicate(tmp_path):
    """A document of a repeated id is dropped; what a later one repeats of it stays."""
    first, second, third = documents(3)
    records = [first, second | {"id": "d0"}, third | {"text": second["text"]}]
    path = write(tmp_path / "d.jsonl", records)
    corpus = CorpusConfig(path, drop_duplicates="exact", max_bad_share=0.5)
    _, chunks = run(corpus, tmp_path / "out")
    assert [chunk.document_id for chunk in chunks] == ["d0", "d2"]


@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [
        (blocks._Block, "write", 2),
        (cleaning, "find_dropped", 0),
        (cleaning._PairTask, "__call__", 0),
        (pipeline._ShardTask, "__call__", 1),
        (store, "write_index", 1),
    ],
)
def test_a_killed_run_goes_on(tmp_path, monkeypatch, owner, name, calls):
    path = write(tmp_path / "d.jsonl", DUPLICATES)
    corpus = CorpusConfig(path, drop_duplicates="near", block_documents=2)
    run(corpus, tmp_path / "whole")
    original, seen = getattr(owner, name), []

    def counted(*args):
        if len(seen) == calls:
            raise Killed
        seen.append(None)
        return original(*args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, name, counted)
        run(corpus, tmp_path / "out")
    done = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").glob("*/*.json")}
    assert len(done) >= min(calls, 2)
    run(corpus, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
