"""The paper's tables as runs, and our numbers beside theirs."""

import dataclasses
import json
import math

import numpy as np
import pytest
from etils import epath

from configs import paper_tables as paper_tables_config
from configs import ra_it_64shot as shots_config
from radit_jax.config import BenchmarksConfig, Config, ConfigError, EvaluationConfig
from radit_jax.evaluation import beside_paper, paper_markdown, paper_tables
from radit_jax.evaluation.benchmarks.job import Job, Run
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS
from radit_jax.evaluation.beside_paper import Cell
from radit_jax.evaluation.paper_tables import PAPER_TABLES
from radit_jax.stages import paper_table
from radit_jax.workdir import Workdir

SETTINGS = EvaluationConfig(num_bootstrap=500)
COMMONSENSE, KNOWLEDGE = PAPER_TABLES[3], PAPER_TABLES[2]


def cell(job, values, items="same", **cut):
    marks = {
        "values": values,
        "num_items": len(values),
        "items": items,
        "others": {},
        "kilt": {},
        "cut": {"backgrounds": 0, "demonstrations": 0} | cut,
    }
    return Cell(job, marks)


def cells_of(table, filled, settings=None):
    """Cells of a table's jobs: those of `filled`, all others without a file."""
    return {
        (place, job.task): cell(job, *filled[place, job.task])
        if (place, job.task) in filled
        else Cell(job, missing=f"no files of {job.task}.\n")
        for place, job in table.jobs(settings or BenchmarksConfig())
    }


def test_every_published_row_is_a_line():
    assert list(PAPER_TABLES) == [2, 3, 4, 5, 6, 7, 13]
    for number, table in PAPER_TABLES.items():
        assert table.number == number
        assert [line.row for line in table.lines] == list(table.published.rows)
        assert all((line.run is None) == bool(line.why_not) for line in table.lines)


def test_what_answers_in_the_lines_places():
    runs = {
        (line.row.system, line.row.shots): line.run
        for table in PAPER_TABLES.values()
        for line in table.lines
    }
    assert runs["REPLUG", 0] == Run("base", "base")
    assert runs["RA-DIT", 5] == Run("ra_it", "tuned", num_shots=5)
    assert runs["RA-DIT", 64] == Run("ra_it_64shot", "tuned")
    assert runs["RA-IT, k = 3", 0] == Run("ra_it", "base", num_chunks=3)
    assert runs["RA-IT, k = 0", 0] == Run("ra_it")
    assert runs["concatenated, k = 3", 0].mode == "concatenated"
    assert runs["Atlas 11B", 64] is runs["both encoders", 5] is None


def test_jobs_of_a_table():
    jobs = [job for _, job in KNOWLEDGE.jobs(BenchmarksConfig(num_chunks=7))]
    assert len(jobs) == 6 * 10 + 8  # Atlas has none, 64-shot leaves two tasks out
    assert {job.split for job in jobs if job.task in ("nq", "mmlu")} == {"test"}
    assert {job.split for job in jobs if job.task == "fever"} == {"dev"}
    assert {job.run.num_chunks for job in jobs} == {0, 7}
    jobs = [job for _, job in KNOWLEDGE.jobs(BenchmarksConfig(split="dev"))]
    assert {job.split for job in jobs} == {"dev"}


def test_a_benchmark_without_background_is_closed_book():
    run = Run("ra_it", "tuned", 5).resolved(BENCHMARKS["boolq"], 10)
    assert run == Run("ra_it", "none", 5)
    assert run.system == "ra_it-none"


def test_folders_tell_runs_apart():
    runs = [Run("base"), Run("ra_it"), Run("base", "base"), Run("base", "tuned")]
    runs += [Run("base", "base", num_chunks=3)]
    runs += [Run("base", "base", num_chunks=3, mode="concatenated")]
    resolved = [run.resolved(BENCHMARKS["nq"], 10) for run in runs]
    resolved += [dataclasses.replace(resolved[0], num_shots=5)]
    jobs = [Job("nq", split, run) for run in resolved for split in ("dev", "test")]
    assert len({job.path(epath.Path("w")) for job in jobs}) == len(jobs)
    assert str(jobs[-1].path(epath.Path("w"))) == "w/benchmarks/base-none/nq-test-5shot"
    shared = jobs[4].retrieved_path(epath.Path("w"))
    assert shared == jobs[8].retrieved_path(epath.Path("w"))  # whatever k is
    assert str(shared) == "w/benchmarks/retrieved/base/nq-dev"


def test_ours_beside_theirs():
    filled = {
        (0, "boolq"): ([100.0, 0.0, 100.0, 100.0],),
        (1, "boolq"): ([0.0, 0.0, 100.0, 100.0],),
        (0, "obqa"): ([100.0, 0.0],),
    }
    cells = cells_of(COMMONSENSE, filled)
    found = beside_paper.beside(COMMONSENSE, cells, SETTINGS, ["Other LM."])
    llama, radit = found["lines"]
    boolq = llama["cells"][0]
    assert (boolq["ours"]["value"], boolq["published"]) == (75.0, 85.3)
    assert boolq["difference"] == pytest.approx(-10.3)
    assert boolq["ours"]["low"] < 75 < boolq["ours"]["high"]
    assert llama["cells"][1]["ours"] is None
    assert llama["cells"][1]["missing"] == "no files of piqa.\n"
    # Over the tasks that are filled: theirs too.
    mean = llama["mean"]
    assert mean["ours"]["value"] == pytest.approx((75 + 50) / 2)
    assert mean["published"] == pytest.approx((85.3 + 60.2) / 2)
    assert (mean["num_filled"], mean["num_tasks"]) == (2, 8)
    assert radit["mean"]["difference"] == pytest.approx(50 - 86.7)
    [difference] = found["differences"]
    assert difference["what"] == "RA-DIT minus LLaMA"
    assert set(difference["tasks"]) == {"boolq"}
    assert difference["tasks"]["boolq"]["value"] == -25.0
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_other_items_are_not_compared():
    filled = {(0, "boolq"): ([100.0], "some"), (1, "boolq"): ([0.0], "others")}
    cells = cells_of(COMMONSENSE, filled)
    found = beside_paper.beside(COMMONSENSE, cells, SETTINGS, [])
    assert found["differences"] == []


def test_a_published_mean_without_cells_needs_all_tasks():
    table = PAPER_TABLES[4]
    tasks = table.published.tasks
    some = {(3, task): ([100.0, 0.0],) for task in tasks[:-1]}
    whole = some | {(3, tasks[-1]): ([0.0, 0.0],)}
    means = [
        beside_paper.beside(table, cells_of(table, filled), SETTINGS, [])["lines"][3][
            "mean"
        ]
        for filled in (some, whole, {})
    ]
    assert means[0]["published"] is means[0]["difference"] is None
    assert means[1]["difference"] == pytest.approx(5 * 50 / 6 - 51.0)
    assert (means[2]["ours"], means[2]["published"]) == (None, 51.0)


def test_what_differs_in_a_cell_is_noted():
    settings = BenchmarksConfig(num_chunks=3)
    jobs = {(place, job.task): job for place, job in KNOWLEDGE.jobs(settings)}
    cells = {
        key: cell(jobs[key], [0.0, 100.0], backgrounds=2)
        for key in ((1, "fever"), (0, "nq"))
    }
    found = beside_paper.beside(KNOWLEDGE, cells, SETTINGS, [])
    by_task = [{c["task"]: c for c in line["cells"]} for line in found["lines"]]
    assert by_task[1]["fever"]["notes"] == [
        "dev, not test",
        "k = 3",
        "2 backgrounds cut",
    ]
    assert by_task[0]["nq"]["notes"] == ["2 backgrounds cut"]
    # A line's own k is the paper's.
    table = PAPER_TABLES[13]
    one = cells_of(table, {(0, "fever"): ([0.0],)}, settings)
    line = beside_paper.beside(table, one, SETTINGS, [])["lines"][0]
    assert {c["task"]: c for c in line["cells"]}["fever"]["notes"] == []


def test_the_mean_of_tasks_redraws_each_by_itself():
    rng = np.random.default_rng(0)
    drawn = [rng.random(n) < p for n, p in ((400, 0.5), (100, 0.2))]
    values = [(100.0 * some).tolist() for some in drawn]
    found = beside_paper.mean_interval(values, 2000, 0)
    assert found["value"] == pytest.approx(np.mean([np.mean(v) for v in values]))
    spread = math.sqrt(sum(np.var(v) / len(v) for v in values)) / 2
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * spread, rel=0.06)


def test_the_table_as_markdown():
    filled = {(0, "boolq"): ([100.0, 100.0],), (1, "boolq"): ([100.0, 0.0],)}
    cells = cells_of(COMMONSENSE, filled)
    found = beside_paper.beside(COMMONSENSE, cells, SETTINGS, ["Other LM."])
    text = paper_markdown.render(found)
    assert text.startswith("## Table 3: Commonsense reasoning, without retrieval\n")
    assert "- Other LM." in text
    row = "| BoolQ | accuracy | 100.0 [100.0, 100.0] | 85.3 | +14.7 | 2 |  |"
    assert row in text
    assert "| PIQA | accuracy | – | 82.8 | – | – | missing: see 1 |" in text
    assert "| WinoGrande | accuracy | – | 79.8 | – | – | missing: see 4 |" in text
    assert "\n1. no files of piqa.\n2. no files of siqa.\n" in text
    assert "| RA-DIT minus LLaMA | 0 | -50.0 [-100.0, +0.0] |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| B")}
    assert widths == {8}


def test_an_empty_table_says_what_it_takes():
    for table in PAPER_TABLES.values():
        found = beside_paper.beside(table, cells_of(table, {}), SETTINGS, [])
        text = paper_markdown.render(found)
        assert "To fill what is missing:" in text
        assert "nan" not in text
        json.dumps(found, allow_nan=False)


def test_what_is_from_memory_is_marked():
    """The table's number, and the numbers in it."""
    texts = {}
    for number, table in PAPER_TABLES.items():
        found = beside_paper.beside(table, cells_of(table, {}), SETTINGS, [])
        texts[number] = paper_markdown.render(found)
    said = "gives it this number is from memory, unverified."
    assert [n for n, text in texts.items() if said in text] == [4, 5, 6, 7]
    column = "| published, unverified |"
    assert [n for n, text in texts.items() if column in text] == [4, 5]
    assert all("| published" in text for text in texts.values())


def test_unverified_scores_are_told(config, tmp_path):
    workdir = Workdir(epath.Path(tmp_path) / "run")
    told = {n: paper_table.setup(config, workdir, t) for n, t in PAPER_TABLES.items()}
    said = "is from memory, unverified, in "
    assert told[2][-1].endswith(said + "MMLU, ELI5, zsRE, T-REx, WoW.")
    assert told[3][-1].endswith(said + "BoolQ.")


@pytest.fixture
def config(tmp_path):
    config = Config()
    config.benchmarks.folder = str(tmp_path / "tasks")
    file = tmp_path / "tasks" / "nq" / "test.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("{}\n")
    return config


@pytest.mark.parametrize(
    ("run", "changes", "match"),
    [
        (Run("base"), {"names": ("boolq",)}, "names=('boolq',) leaves it out"),
        (Run("base", num_shots=1), {}, "shots=(0, 5) leaves it out"),
        (Run("base", num_shots=5), {}, "no files of nq, train: "),
        (Run("ra_it"), {}, "launch.finetune_lm --config.lm_training.examples=ra_it`"),
        (Run("ra_it_64shot"), {}, "both with a config of configs/ra_it_64shot.py"),
        (Run("base", "base", 0, 3), {}, "run `python -m launch.build_index`"),
        (Run("base"), {}, ""),
    ],
)
def test_what_it_takes_to_fill_a_cell(config, tmp_path, run, changes, match):
    for name, value in changes.items():
        setattr(config.benchmarks, name, value)
    workdir = Workdir(epath.Path(tmp_path) / "run")
    found = paper_table.missing(config, workdir, Job("nq", "test", run))
    assert match in found and bool(match) == bool(found)


def finished(folder, **config):
    folder.mkdir(parents=True)
    manifest = {"stage": folder.name, "config": config, "inputs": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_it_takes_to_fill_a_cell_behind_a_tuned_retriever(config, tmp_path):
    workdir = Workdir(epath.Path(tmp_path) / "run")
    job = Job("nq", "test", Run("base", "tuned", 0, 10))
    finished(workdir.index)
    assert "launch.finetune_retriever`" in paper_table.missing(config, workdir, job)
    finished(workdir.query_tower, retriever_training={"train": "both"})
    assert "together with its passage" in paper_table.missing(config, workdir, job)
    workdir.query_tower.rmtree()
    finished(workdir.query_tower, retriever_training={"train": "query"})
    assert paper_table.missing(config, workdir, job) == ""
    config.retrieve.num_chunks = 5
    assert "only 5 chunks are retr" in paper_table.missing(config, workdir, job)
    config.retrieve.num_chunks, config.retrieve.kind = 10, "bm25"
    finished(workdir.bm25)
    assert "has no query tower" in paper_table.missing(config, workdir, job)


def test_tables_by_number():
    chosen = paper_tables.choose("13, 2")
    assert [table.number for table in chosen] == [13, 2]
    assert len(paper_tables.choose("")) == len(PAPER_TABLES)
    with pytest.raises(ConfigError, match="--table=2,9 names .'9'.; .* 2, 3, 4, 5"):
        paper_tables.choose("2,9")


def test_settings_that_name_nothing():
    with pytest.raises(ConfigError, match="benchmarks.folder is not set; name the"):
        paper_tables.check_names(BenchmarksConfig())
    settings = BenchmarksConfig(folder="f", names=("nq", "naturalq"))
    with pytest.raises(ConfigError, match=r"names has \['naturalq'\]; the benchmarks"):
        paper_tables.check_names(settings)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("names", "nq", "names is 'nq'; give a tuple, such as"),
        ("shots", (), r"shots is \(\); give a tuple of numbers"),
        ("shots", (-1,), r"shots is \(-1,\); give a tuple of numbers"),
        ("split", "train", "split is 'train'; choose one of"),
        ("kilt_pages", "url", "kilt_pages is 'url'; choose one of"),
        ("max_items", -1, "max_items is -1; give 0 or more"),
        ("shard_size", 0, "shard_size is 0; give a number above 0"),
    ],
)
def test_settings_that_can_not_be(field, value, match):
    config = Config()
    setattr(config.benchmarks, field, value)
    with pytest.raises(ConfigError, match=match):
        config.validate("benchmarks")


def test_the_configs(monkeypatch):
    monkeypatch.setenv("RADIT_BENCHMARKS", "sets")
    shots = shots_config.get_config("ra_dit_7b")
    shots.validate("benchmarks", "examples", "lm_training")
    training = shots.lm_training
    assert (training.num_steps, training.batch_rows, training.warmup_steps) == (
        *(100, 32, 0),
    )
    assert shots_config.get_config("quickstart").lm_training.examples == "ra_it_64shot"
    config = paper_tables_config.get_config("quickstart")
    config.validate("benchmarks", "retrieve", "examples", "lm_training")
    assert config.benchmarks.folder == "sets"
    assert paper_tables_config.get_config("ra_dit_7b").benchmarks.max_items == 2500
    with pytest.raises(ValueError, match="no variant 'tiny'; name one of quickstart"):
        paper_tables_config.get_config("tiny")
