"""Apache Beam: the same store as this process makes, and what can be wrong."""

import gzip
import os
import pathlib
import subprocess
import sys

import pytest

from radit_jax.config import CorpusConfig
from radit_jax.corpus import beam, pipeline, runner

PROGRAM = """
import pathlib, sys
from radit_jax.config import CorpusConfig
from radit_jax.corpus import cleaning, pipeline

documents, folder, num_workers, block, few = sys.argv[1:]
if int(few):  # so that every step has work for all
    cleaning._FEW_PAIRS = cleaning._FEW_HASHES = 1
    cleaning._SLICE_HASHES = int(few)
pathlib.Path(folder).mkdir()
corpus = CorpusConfig(
    documents, block_documents=int(block), drop_duplicates="near",
    runner="DirectRunner",
    runner_options=(f"--direct_num_workers={num_workers}",),
)
pipeline.write_store(corpus, folder)
"""


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def run(documents, folder, num_workers, block=3, few=0):
    """In a process of its own: Beam's workers and warnings are no part of pytest."""
    args = map(str, (documents, folder, num_workers, block, few))
    command = [sys.executable, "-c", PROGRAM, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return contents(folder)


def test_any_number_of_workers_makes_the_same_store(tmp_path):
    pytest.importorskip("apache_beam")
    texts = [" ".join(f"w{j}" for j in range(i, i + 60)) for i in range(12)]
    texts += texts[:2] + [" ".join(f"x{i}y{j}" for j in range(9)) for i in range(4)]
    lines = [f'{{"id": {i}, "text": "{text}"}}\n' for i, text in enumerate(texts)]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(lines))
    corpus = CorpusConfig(str(path), block_documents=3, drop_duplicates="near")
    (tmp_path / "alone").mkdir()
    counts = pipeline.write_store(corpus, tmp_path / "alone")
    assert counts["exact_duplicates"] == 2
    assert counts["near_duplicates"] > 0
    assert run(path, tmp_path / "beam", 2) == contents(tmp_path / "alone")


def test_the_number_of_workers():
    pytest.importorskip("apache_beam")
    assert beam.num_workers("DirectRunner", ["--direct_num_workers=3"]) == 3
    assert beam.num_workers("DirectRunner", []) == os.cpu_count()
    assert beam.num_workers("DirectRunner", ["--direct_num_workers=0"]) == (
        os.cpu_count()
    )
    assert beam.num_workers("FlinkRunner", ["--parallelism=5"]) == 5
    assert beam.num_workers("DataflowRunner", ["--max_num_workers=40"]) == 40
    assert beam.num_workers("DataflowRunner", []) == 16


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(beam.BeamError, match="needs Apache Beam; .*radit_jax.beam"):
        runner.for_each(CorpusConfig(runner="DirectRunner"), print, [1, 2])


WIKI = pathlib.Path(__file__).parents[3] / "shared" / "data" / "wiki_mix"


@pytest.mark.shared_data
@pytest.mark.skipif(not WIKI.exists(), reason=f"no Wikipedia passages in {WIKI}")
def test_real_passages_on_one_worker_and_on_two(tmp_path):
    lines = gzip.decompress((WIKI / "psgs.tsv.gz").read_bytes()).splitlines(True)
    path = tmp_path / "psgs.tsv.gz"
    path.write_bytes(gzip.compress(b"".join(lines[:6001])))
    one, two = (run(path, tmp_path / str(n), n, block=1000, few=4000) for n in (1, 2))
    assert len([name for name in one if name.endswith("array_record")]) == 6
    assert one == two
