"""Publishers' files: what is read, and what is said of those that can't be."""

import gzip
import io
import tarfile
import zipfile

import pytest
from etils import epath

from radit_jax.instruct.tasks import raw_files
from radit_jax.instruct.tasks.task import SourceError


def written(tmp_path, name, content):
    path = epath.Path(tmp_path) / name
    path.write_bytes(content)
    return path


def zipped(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def tarred(members, mode="w"):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, member in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(member)
            archive.addfile(entry, io.BytesIO(member))
    return content.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lines_are_read_packed_or_not_whatever_the_name(tmp_path, pack):
    lines = '\ufeff{"a": 1}\n\n{"a": "Zürich\u2028"}\r\n'.encode()
    path = written(tmp_path, "x.jsonl.gz", pack(lines))
    assert list(raw_files.json_lines(path)) == [{"a": 1}, {"a": "Zürich\u2028"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a":\n', r"x\.jsonl:2 is not JSON"),
        (b'{"a": "\xff"}\n', r"x\.jsonl:1 is not JSON"),
        (b"[1]\n", r"x\.jsonl:1 is \[1\], not an object"),
        (gzip.compress(b'{"a": 1}\n' * 99)[:-9], r"x\.jsonl is damaged"),
    ],
)
def test_lines_that_can_t_be_read(tmp_path, content, message):
    path = written(tmp_path, "x.jsonl", content)
    with pytest.raises(SourceError, match=message):
        list(raw_files.json_lines(path))


def test_arrays_and_what_is_none():
    assert raw_files.json_array(b'[{"a": 1}]', "x") == [{"a": 1}]
    assert raw_files.json_array(b'{"Q": [{"a": 1}]}', "x", "Q") == [{"a": 1}]
    with pytest.raises(SourceError, match="x is not an array"):
        raw_files.json_array(b'{"Q": []}', "x")
    for content in (b"[]", b'{"Q": 1}', b"{}"):
        with pytest.raises(SourceError, match="x has no array at 'Q'"):
            raw_files.json_array(content, "x", "Q")


def test_a_zip_member_is_found_in_any_folder_but_the_mac_s(tmp_path):
    members = {"__MACOSX/D/a.tsv": "no", "D/xa.tsv": "nor", "D/a.tsv": "yes"}
    path = written(tmp_path, "x.zip", zipped(members))
    assert raw_files.zip_member(path, "a.tsv") == b"yes"
    with pytest.raises(SourceError, match=r"x\.zip has no b\.tsv; its first files"):
        raw_files.zip_member(path, "b.tsv")
    cut = written(tmp_path, "y.zip", path.read_bytes()[:40])
    with pytest.raises(SourceError, match=r"y\.zip is no zip archive"):
        raw_files.zip_member(cut, "a.tsv")


@pytest.mark.parametrize(("mode", "cut_at"), [("w", 700), ("w:gz", -20)])
def test_tar_members_under_a_folder(tmp_path, mode, cut_at):
    members = {"M/train/a/1": b"1", "./M/train/2": b"2", "M/test/3": b"3"}
    hidden = {"M/train/._1": b"of a Mac", "M/training/4": b"4"}
    path = written(tmp_path, "x.tar", tarred(members | hidden, mode))
    found = list(raw_files.tar_members(path, "M/train"))
    assert found == [("M/train/a/1", b"1"), ("M/train/2", b"2")]
    with pytest.raises(SourceError, match=r"x\.tar has no files under M/dev"):
        list(raw_files.tar_members(path, "M/dev"))
    cut = written(tmp_path, "y.tar", path.read_bytes()[:cut_at])
    with pytest.raises(SourceError, match=r"y\.tar is no tar archive"):
        list(raw_files.tar_members(cut, "M/train"))


def test_texts_that_can_be_written():
    assert raw_files.text("Zürich") == "Zürich"
    assert raw_files.text("half \ud83d") == "half ?"
    assert [raw_files.text(value) for value in (None, 3, ["x"])] == ["", "", ""]
