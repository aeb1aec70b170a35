"""Hand-written benchmarks of four questions, from their files to the paper's table."""

import dataclasses
import json
import types

import pytest
from etils import epath

from configs import toy as toy_config
from launch import evaluate_benchmarks as launcher
from radit_jax import artifacts
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.evaluation import paper_tables
from radit_jax.evaluation.benchmarks import answering
from radit_jax.evaluation.benchmarks.job import Job, Reader, Run
from radit_jax.evaluation.benchmarks.marks import PredictionsError
from radit_jax.stages import (
    build_index,
    chunk_corpus,
    evaluate_benchmarks,
    inputs,
    retrieve_benchmarks,
)
from radit_jax.testing import toy
from radit_jax.workdir import Workdir
from tests.end_to_end.test_resume import Killed, kill_after

ASKED = ("Arvon", "Belmar", "Corvia", "Dunmere")


def nq(place):
    return {"question": f"What is the river of {place} ?", "answer": ["Adar", "Pell"]}


def fever(place, label):
    page = {"wikipedia_id": f"{place}-river", "title": "unused"}
    output = [{"answer": label, "provenance": [page]}]
    return {"id": place, "input": f"The river of {place} is wide .", "output": output}


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def write_benchmarks(folder):
    labels = ("SUPPORTS", "REFUTES", "REFUTES", "SUPPORTS")
    pairs = zip(ASKED, labels, strict=True)
    write(folder / "nq" / "NQ-open.dev.jsonl", [nq(place) for place in ASKED])
    write(folder / "nq" / "NQ-open.train.jsonl", [nq("Elthos"), nq("Galen")])
    write(folder / "fever" / "fever-dev-kilt.jsonl", [fever(*pair) for pair in pairs])
    train = [fever("Hest", "REFUTES")]
    write(folder / "fever" / "fever-train-kilt.jsonl", train)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The toy corpus, indexed, and a config for its benchmarks."""
    folder = epath.Path(tmp_path_factory.mktemp("benchmarks"))
    world = toy.write(folder / "world")
    config = toy_config.get_config(str(world))
    config.lm.max_tokens = 160
    config.evaluation.num_bootstrap = 50
    config.retrieve.kind = "bm25"  # nothing to embed: an LM is compiled, no encoder
    config.encoder.temperature = 1.0
    config.benchmarks.folder = str(folder / "tasks")
    config.benchmarks.names = ("nq", "fever")
    config.benchmarks.shots = (0, 1)
    config.benchmarks.num_chunks = 2
    config.benchmarks.batch_size = 8
    config.benchmarks.shard_size = 2  # two files each
    config.benchmarks.kilt_pages = "wikipedia_id"
    write_benchmarks(folder / "tasks")
    workdir = Workdir(folder / "run")
    for stage in (chunk_corpus, build_index):
        stage.run(config, workdir)
    return config, workdir


@pytest.fixture(scope="module", autouse=True)
def one_lm(made):
    """The LM is loaded, and its functions compiled, once, for one device."""
    lms = evaluate_benchmarks._LMs(*made)
    with pytest.MonkeyPatch.context() as patch:
        one_device = types.SimpleNamespace(make_mesh=lambda tensor: None)
        patch.setattr(evaluate_benchmarks, "mesh", one_device)
        patch.setattr(evaluate_benchmarks, "_LMs", lambda config, workdir: lms)
        yield


@pytest.fixture(scope="module")
def table(made):
    """Table 2, made by the launcher."""
    config, workdir = made
    [text] = launcher.run(config, workdir, [paper_tables.PAPER_TABLES[2]])
    return text


def job_of(made, task, split, *, retriever="none", shots=0):
    run = Run("base", retriever, shots)
    benchmark = Job(task, split, run).benchmark
    return Job(task, split, run.resolved(benchmark, made[0].benchmarks.num_chunks))


def run_again(made, job, config=None):
    config = config or made[0]
    reader = Reader(config.benchmarks)
    retrieve_benchmarks.run(config, made[1], [job], reader)
    return evaluate_benchmarks.run(config, made[1], [job], reader)


def records_of(made, job):
    folder = job.path(made[1].path)
    names = sorted(folder.glob("predictions-*.jsonl"))
    assert [name.name for name in names] == [
        "predictions-00000-of-00002.jsonl",
        "predictions-00001-of-00002.jsonl",
    ]
    return [record for name in names for record in artifacts.read_lines(name)]


def test_the_table_has_both_systems_and_says_what_is_missing(made, table):
    results = json.loads(
        (made[1].path / "benchmarks/tables/table-2/results.json").read_text()
    )
    lines = {(line["system"], line["shots"]): line for line in results["lines"]}
    cells = {cell["task"]: cell for cell in lines["REPLUG", 0]["cells"]}
    assert cells["nq"]["num_items"] == cells["fever"]["num_items"] == 4
    assert cells["nq"]["published"] == 28.8
    assert cells["nq"]["difference"] == cells["nq"]["ours"]["value"] - 28.8
    assert cells["fever"]["notes"][:2] == ["dev, not test", "k = 2"]
    assert cells["mmlu"]["missing"].startswith("--config.benchmarks.names=")
    assert lines["REPLUG", 0]["mean"]["published"] == pytest.approx((28.8 + 73.3) / 2)
    assert "run `python -m launch.finetune_lm" in table
    assert "--config.benchmarks.shots=(0, 1) leaves it out." in table
    assert "Atlas is another model" in table
    assert [d["what"] for d in results["differences"]] == ["REPLUG minus LLaMA"]
    assert set(results["differences"][0]["tasks"]) == {"nq", "fever"}


def test_predictions_of_a_generated_answer(made, table):
    job = job_of(made, "nq", "test", retriever="base")
    records = records_of(made, job)
    assert [r["question"].split()[-2] for r in records] == list(ASKED)
    lines = artifacts.read_lines(job.retrieved_path(made[1].path) / "found.jsonl")
    documents = [chunk.document_id for chunk in inputs.chunk_store(made[1])]
    for record, line in zip(records, lines, strict=True):
        assert record["chunk_ids"] == line["chunk_ids"][:2]
        assert record["pages"] == [documents[i] for i in record["chunk_ids"]]
        assert len(record["chunk_answers"]) == 2
        assert record["pages"][0] == f"{record['question'].split()[-2]}-river"
    scores = evaluate_benchmarks.read(made[1], job)
    assert scores["metric"] == "em" and len(scores["values"]) == 4
    assert set(scores["others"]) == {"f1", "contains"}


def test_predictions_of_a_choice_have_kilts_scores(made, table):
    job = job_of(made, "fever", "dev", retriever="base")
    records = records_of(made, job)
    assert [record["gold"] for record in records] == [0, 1, 1, 0]
    right = [record["gold"] == record["option"] for record in records]
    scores = evaluate_benchmarks.read(made[1], job)
    assert scores["values"] == [100.0 * one for one in right]
    assert scores["kilt"]["r_precision"]["value"] == 100.0
    assert scores["kilt"]["kilt_accuracy"]["value"] == 25.0 * sum(right)
    closed = evaluate_benchmarks.read(made[1], job_of(made, "fever", "dev"))
    assert closed["kilt"] == {} and closed["num_items"] == 4


def test_one_shot_behind_a_retriever(made, table):
    shown = job_of(made, "nq", "test", retriever="base", shots=1)
    bare = job_of(made, "nq", "test", retriever="base")
    assert run_again(made, shown) == {}
    values = [
        [record["log_probability"] for record in records_of(made, job)]
        for job in (shown, bare)
    ]
    assert values[0] != values[1]
    assert evaluate_benchmarks.read(made[1], shown)["cut"]["demonstrations"] == 0


def test_one_shot_choices_closed_book(made, table):
    job = job_of(made, "fever", "dev", shots=1)
    assert run_again(made, job) == {}
    assert len(records_of(made, job)) == 4


def test_nothing_finished_is_done_again(made, table, monkeypatch):
    monkeypatch.setattr(answering, "answer", None)
    monkeypatch.setattr(retrieve_benchmarks, "_retrieve", None)
    [again] = launcher.run(*made, [paper_tables.PAPER_TABLES[2]])
    assert again == table


def test_a_killed_evaluation_repeats_one_shard(made, table, monkeypatch):
    job = job_of(made, "fever", "dev")
    folder = job.path(made[1].path)
    whole = {file.name: file.read_text() for file in folder.glob("*.jsonl")}
    scores = (folder / "scores.json").read_text()
    folder.rmtree()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, answering, "answer", 1)
        run_again(made, job)
    assert len(list(folder.glob("*.jsonl"))) == 1
    with monkeypatch.context() as patch:
        kill_after(patch, answering, "answer", 1)  # one call is enough
        run_again(made, job)
    assert {f.name: f.read_text() for f in folder.glob("*.jsonl")} == whole
    assert (folder / "scores.json").read_text() == scores


def test_predictions_edited_by_hand_are_refused(made, table):
    job = job_of(made, "nq", "test")
    file = job.path(made[1].path) / "predictions-00001-of-00002.jsonl"
    whole = file.read_text()
    file.write_text(whole.replace('"answer": "', '"answer": "Adar'))
    try:
        with pytest.raises(
            artifacts.ArtifactError,
            match="was changed after it was written: predictions-00001-of-00002.jsonl "
            "has the hash .* delete the folder and run again",
        ):
            launcher.run(*made, [paper_tables.PAPER_TABLES[2]])
        file.unlink()
        with pytest.raises(artifacts.ArtifactError, match="00001-of-00002.jsonl is go"):
            evaluate_benchmarks.read(made[1], job)
    finally:
        file.write_text(whole)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda text: text.replace('"id": "', '"id": "x'), "part at number 0"),
        (lambda text: text[:-9], "is not what was written .* Delete it, and run"),
    ],
)
def test_a_shard_of_a_killed_run_edited_by_hand_is_refused(made, table, edit, match):
    job = job_of(made, "nq", "test", shots=1)
    folder = job.path(made[1].path)
    run_again(made, job)
    file = folder / "predictions-00000-of-00002.jsonl"
    (folder / "manifest.json").unlink()
    whole = file.read_text()
    file.write_text(edit(whole))
    with pytest.raises(PredictionsError, match=match):
        run_again(made, job)
    file.write_text(whole)


def test_chunks_of_other_questions_are_refused(made, table):
    job = job_of(made, "nq", "test", retriever="base")
    file = job.retrieved_path(made[1].path) / "found.jsonl"
    whole = file.read_text()
    assert '"id": "test' in whole
    # As long as before: another length is told before.
    file.write_text(whole.replace('"id": "test', '"id": "text'))
    (job.path(made[1].path) / "manifest.json").unlink()
    (job.path(made[1].path) / "predictions-00001-of-00002.jsonl").unlink()
    with pytest.raises(PredictionsError, match="retrieved for nq are of other quest"):
        run_again(made, job)
    file.write_text(whole)
    run_again(made, job)


def test_what_can_not_be_done_is_told_and_the_rest_is_done(made, table):
    config = made[0]
    settings = dataclasses.replace(config.benchmarks, shots=(0, 5))
    few = job_of(made, "nq", "test", shots=5)
    done = job_of(made, "fever", "dev")
    reader = Reader(settings)
    changed = dataclasses.replace(config, benchmarks=settings)
    refused = evaluate_benchmarks.run(changed, made[1], [few, done], reader)
    assert list(refused) == [few]
    assert refused[few].startswith("nq: 5 demonstrations are wanted, but there are 2")


def test_questions_that_do_not_fit_are_told(made, table, tmp_path):
    config, workdir = made
    changed = dataclasses.replace(
        config, lm=dataclasses.replace(config.lm, max_tokens=40)
    )
    job = job_of(made, "nq", "test", shots=1)
    job.path(workdir.path).rmtree(missing_ok=True)
    refused = run_again(made, job, changed)
    assert refused[job].startswith("4 of 4 questions of nq do not fit:\nexample")
    job.path(workdir.path).rmtree()


def test_bad_files_are_told_together_before_any_work(made, table, tmp_path):
    folder = epath.Path(tmp_path) / "tasks"
    write_benchmarks(folder)
    write(folder / "nq" / "NQ-open.dev.jsonl", [{"question": "who?", "answer": []}])
    write(folder / "fever" / "fever-dev-kilt.jsonl", [{"input": "Is it?"}])
    config, workdir = made
    settings = dataclasses.replace(config.benchmarks, folder=str(folder))
    changed = dataclasses.replace(config, benchmarks=settings)
    with pytest.raises(CorpusError) as caught:
        launcher.run(changed, workdir, [paper_tables.PAPER_TABLES[2]])
    assert "has no answers" in str(caught.value)
    assert "has no list of 'output'" in str(caught.value)
