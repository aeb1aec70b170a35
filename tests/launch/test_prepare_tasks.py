"""Preparing sets from the command line: a table, and every problem at the end."""

import subprocess
import sys

from tests.instruct.tasks import published


def launch(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "launch.prepare_tasks", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_table_and_the_sets_that_are_missing(tmp_path):
    published.bring("newsqa", tmp_path / "manual")
    published.bring("quail", tmp_path / "manual")
    published.bring("drop", tmp_path / "manual")
    (tmp_path / "manual" / "quail" / "dev.jsonl").write_text("{\n")
    (tmp_path / "manual" / "drop" / "drop_dataset.zip").write_bytes(b"PK")
    code, table, said = launch(
        "--tasks=quail,newsqa,drop",
        f"--tasks_dir={tmp_path / 'sets'}",
        f"--manual_dir={tmp_path / 'manual'}",
    )
    assert code == 1
    assert [line.split(maxsplit=5) for line in table.splitlines()] == [
        ["set", "split", "records", "kept", "dropped", "why"],
        [
            *("newsqa", "train", "6", "2", "4"),
            "2 no agreed span, 1 judged a bad question, 1 no answer in the story",
        ],
        ["newsqa", "validation", "1", "1", "0"],
    ]
    assert "error: 2 of 3 sets are not prepared" in said
    assert "dev.jsonl:1 is not JSON" in said
    assert "drop_dataset.zip is no zip archive" in said
    assert "Traceback" not in said


def test_an_unknown_set_names_those_there_are(tmp_path):
    code, _, said = launch("--tasks=newsqa,triviaqa", f"--tasks_dir={tmp_path}")
    assert code == 1
    assert "--tasks has ['triviaqa']; the sets are oasst1, commonsense_qa" in said
    assert not list(tmp_path.iterdir())
