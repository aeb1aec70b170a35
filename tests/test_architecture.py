"""Imports go one way, and each heavy package is imported in one place."""

import ast
from pathlib import Path

import pytest

import radit_jax

ROOT = Path(radit_jax.__file__).parent.parent
LAYERS = (
    {"types", "chips", "config_rules", "workdir", "fingerprint", "memory"}
    | {"failures", "lock", "manifests"},
    {"config", "progress"},
    {"room"},
    {"artifacts", "states"},
    {"ops", "text"},
    {"models", "corpus"},
    {"instruct", "training"},
    {"retrieval"},
    {"inference"},
    {"evaluation"},
    {"serving"},
    {"stages"},
    {"planning"},
    {"testing"},
    {"launch", "configs"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ONE_PLACE = {
    "scann": {"retrieval/scann_index.py"},
    "orbax": {"training/checkpoint.py"},
    "gguf": {"models/gguf.py"},
    "array_record": {"corpus/store.py", "instruct/rows.py"},
    "apache_beam": {"corpus/beam.py"},
    "rouge_score": {"evaluation/rouge.py"},
    "pyarrow": {"evaluation/benchmarks/files.py"},
    "bm25s": {"retrieval/bm25_index.py"},
    "grain": {"instruct/batches.py"},
    "ir_measures": {"evaluation/retrieval_quality.py"},
    "mwparserfromhell": {"corpus/wikitext.py"},
    "Stemmer": {"retrieval/bm25_index.py"},
    "rensa": {"corpus/duplicates.py"},
    "tensorflow_datasets": {"instruct/tasks/builder.py"},
    "starlette": {
        "serving/answering.py",
        "serving/app.py",
        "serving/page.py",
        "serving/reading.py",
        "serving/server.py",
    },
    "uvicorn": {"serving/server.py"},
    "prometheus_client": {"serving/metrics.py"},
    "tensorboardX": {"training/metrics.py"},
    "torch": set(),
    "tensorflow": set(),
    "pickle": set(),
}
FILES = [
    path
    for folder in ("radit_jax", "launch", "configs")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module):
    """Of "radit_jax.text.tokenizer": "text"; None for other packages' modules."""
    first, _, rest = module.partition(".")
    if first == "radit_jax":
        return rest.partition(".")[0]
    return first if first in ("launch", "configs") else None


def layer_of(path):
    return layer(".".join(path.relative_to(ROOT).with_suffix("").parts))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_leftwards(path):
    here = layer_of(path)
    if here == "__init__":
        return
    for module in imported_modules(path):
        there = layer(module)
        if there is None or there == "__version__" or there == here or not there:
            continue
        assert LEVEL[there] < LEVEL[here], f"{path} imports {module}"
        assert there != "testing", f"{path} imports {module}"


def test_stages_do_not_import_each_other():
    for path in (ROOT / "radit_jax" / "stages").glob("*.py"):
        for module in imported_modules(path):
            if module.startswith("radit_jax.stages."):
                assert module == "radit_jax.stages.inputs", f"{path}: {module}"


@pytest.mark.parametrize("package", ONE_PLACE)
def test_imported_in_one_place(package):
    found = {
        str(path.relative_to(ROOT / "radit_jax"))
        for path in FILES
        if any(m.split(".")[0] == package for m in imported_modules(path))
    }
    assert found == ONE_PLACE[package]


def test_no_text_file_uses_jax():
    for path in (ROOT / "radit_jax" / "text").glob("*.py"):
        assert not any(m.split(".")[0] == "jax" for m in imported_modules(path)), path
