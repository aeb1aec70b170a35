import errno
import json

import pytest
from etils import epath

from radit_jax import artifacts
from radit_jax.artifacts import ArtifactError

CONFIG = {"corpus": {"max_chunk_words": 200, "splits": ("a", "b")}}


def write(path, config=CONFIG, inputs=None, overwrite=False, text="x"):
    with artifacts.writing(path, "s", config, inputs or {}, overwrite) as draft:
        if draft is not None:
            draft.write_lines("lines.jsonl", [{"text": text}])
            draft.counts["lines"] = 1
    return draft is not None


def test_a_finished_artifact_is_not_made_again(tmp_path):
    assert write(tmp_path / "a")
    assert not write(tmp_path / "a", text="other")
    artifact = artifacts.load(tmp_path / "a", "s")
    assert artifacts.read_lines(artifact.path / "lines.jsonl") == [{"text": "x"}]
    assert artifact.counts == {"lines": 1}
    assert artifact.manifest["config"]["corpus"]["splits"] == ["a", "b"]


def test_another_config_or_input_is_refused_and_named(tmp_path):
    write(tmp_path / "a", inputs={"documents": "11"})
    other = {"corpus": CONFIG["corpus"] | {"max_chunk_words": 100}}
    match = "corpus.max_chunk_words was 200 and is now 100"
    with pytest.raises(ArtifactError, match=match):
        write(tmp_path / "a", other, {"documents": "11"})
    with pytest.raises(ArtifactError, match="inputs.documents was '11' and is now '2'"):
        write(tmp_path / "a", inputs={"documents": "2"})


def test_overwrite_makes_it_again(tmp_path):
    write(tmp_path / "a")
    (tmp_path / "a" / "old").write_text("")
    assert write(tmp_path / "a", {"corpus": {}}, overwrite=True, text="new")
    assert artifacts.read_lines(tmp_path / "a" / "lines.jsonl") == [{"text": "new"}]
    assert not (tmp_path / "a" / "old").exists()


def test_a_killed_run_is_unfinished_and_its_files_are_found_again(tmp_path):
    with (
        pytest.raises(RuntimeError, match="killed"),
        artifacts.writing(tmp_path / "a", "s", CONFIG, {}) as draft,
    ):
        draft.write_json("0.json", 1)
        with draft.file("1.json") as path:
            path.write_text("hal")
            raise RuntimeError("killed")
    assert artifacts.find(tmp_path / "a") is None
    with pytest.raises(ArtifactError, match="is unfinished; run `python -m launch.s`"):
        artifacts.load(tmp_path / "a", "s")
    with artifacts.writing(tmp_path / "a", "s", CONFIG, {}) as draft:
        assert draft.has("0.json")
        assert not draft.has("1.json")


def test_a_killed_run_of_another_config_is_refused(tmp_path):
    with (
        pytest.raises(RuntimeError, match="killed"),
        artifacts.writing(tmp_path / "a", "s", CONFIG, {}) as draft,
    ):
        draft.write_json("0.json", 1)
        raise RuntimeError("killed")
    with pytest.raises(ArtifactError, match="made by another config"):
        write(tmp_path / "a", {})


def test_a_kill_while_overwriting_leaves_nothing_of_the_old(tmp_path, monkeypatch):
    write(tmp_path / "a")

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(epath.Path(tmp_path)), "rmtree", killed)
        write(tmp_path / "a", {"corpus": {}}, overwrite=True)
    with artifacts.writing(tmp_path / "a", "s", {"corpus": {}}, {}) as draft:
        assert not draft.has("lines.jsonl")


def test_a_run_that_failed_before_it_wrote_anything_stands_in_no_ones_way(tmp_path):
    with (
        pytest.raises(RuntimeError, match="bad input"),
        artifacts.writing(tmp_path / "a", "s", CONFIG, {}) as draft,
        draft.file("0.json") as path,
    ):
        path.write_text("hal")
        raise RuntimeError("bad input")
    assert write(tmp_path / "a", {"corpus": {}})


def test_load_says_what_is_missing(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist; run .*launch.retrieve"):
        artifacts.load(tmp_path / "none", "retrieve")
    write(tmp_path / "a")
    with pytest.raises(ArtifactError, match="written by stage 's', not by 'predict'"):
        artifacts.load(tmp_path / "a", "predict")


def test_a_full_disk_leaves_nothing_that_counts(tmp_path):
    with (
        pytest.raises(OSError, match="disk of .* is full; nothing half-written"),
        artifacts.writing(tmp_path / "a", "s", CONFIG, {}) as draft,
        draft.file("big") as path,
    ):
        path.write_text("some of it")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert artifacts.find(tmp_path / "a") is None
    assert not (tmp_path / "a" / "big").exists()


def test_a_folder_is_replaced_whole(tmp_path):
    with artifacts.writing(tmp_path / "a", "s", CONFIG, {}) as draft:
        for content in ("one", "two"):
            with draft.file("model") as folder:
                folder.mkdir()
                (folder / content).write_text(content)
    assert [f.name for f in (tmp_path / "a" / "model").iterdir()] == ["two"]


def test_manifest_hash_follows_what_is_in_it(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", {"corpus": {}})
    first = artifacts.load(tmp_path / "a", "s")
    assert first.sha256 == artifacts.load(tmp_path / "a", "s").sha256
    assert first.sha256 != artifacts.load(tmp_path / "b", "s").sha256
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["stage"] == "s"
