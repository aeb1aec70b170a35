from radit_jax import fingerprint


def test_hash_files_sees_names_and_contents(tmp_path):
    for folder, name, text in (("a", "x", "1"), ("b", "x", "2"), ("c", "y", "1")):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / name).write_text(text)
    hashes = {fingerprint.hash_files(tmp_path / folder) for folder in "abc"}
    assert len(hashes) == 3
    (tmp_path / "b" / "sub" / "x").write_text("1")
    assert fingerprint.hash_files(tmp_path / "a") == fingerprint.hash_files(
        tmp_path / "b"
    )
    file = tmp_path / "a" / "sub" / "x"
    assert fingerprint.hash_files(file) != fingerprint.hash_files(tmp_path / "a")


def test_hash_of_a_large_file_sees_both_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "_HASHED_WHOLE_BYTES", 1000)
    content = bytearray(3 * 2**20)
    found = set()
    for place in (None, 5, -5):
        changed = bytearray(content)
        if place is not None:
            changed[place] = 1
        (tmp_path / "f.gguf").write_bytes(changed)
        found.add(fingerprint.hash_files(tmp_path / "f.gguf"))
    assert len(found) == 3
