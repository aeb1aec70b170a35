"""No command in the documents names what is not there, and those that can be run are.

`-m documented` runs every block that is not marked `<!-- not run: why -->`, in a
folder that has the checkout, documents and questions, and a finished run of the
quickstart, which RADIT_DOCUMENTED_RUN names; RADIT_CACHE has its models.
"""

import ast
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from radit_jax.config import Config
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS
from tests import documents
from tests.test_architecture import LAYERS

BLOCKS = documents.blocks()
COMMANDS = [
    pytest.param(command, id=f"{block}: {' '.join(command)[:70]}")
    for block in BLOCKS
    for command in block.commands
]
SHELL = ("curl", "docker", "kubectl", "gcloud", "gsutil", "pip", "bash", "python")
SHELL += ("helm", "kill", "git", "cat", "cd", "tensorboard")
EXTRA = re.compile(r"\[([\w,-]+)\]")


def test_there_are_commands():
    assert len(COMMANDS) > 20
    assert {block.page for block in BLOCKS} >= {"README.md", "docs/your_data.md"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_what_there_is(command, monkeypatch):
    monkeypatch.setenv("RADIT_WIKI_MIX", "data")  # as the config asks for
    program, *words = command
    assert program in SHELL, f"{program}: teach this test what it is"
    if program == "bash":
        _check_script(words)
    elif program == "pip":
        _check_extras(words)
    elif program == "python" and words[0] == "-m" and words[1] != "pytest":
        modules = ["retrieve", "predict"] if "$" in words[1] else [words[1]]
        for module in modules:
            full = module if "." in module else f"launch.{module}"
            _check_program(full, words[2:])


def _check_script(words):
    text = (documents.ROOT / words[0]).read_text()
    if "--" in words:
        after = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
        _check_program(f"launch.{after[0]}", after[1:])
    for word in words[1:]:
        flag = word.partition("=")[0]
        if flag.startswith("--"):
            assert flag in text, f"{words[0]} has no {flag}"


def _check_extras(words):
    setup = (documents.ROOT / "setup.py").read_text()
    for word in words:
        for extra in ",".join(EXTRA.findall(word)).split(","):
            assert not extra or f'"{extra}": ' in setup, f"there is no extra {extra}"


def _check_program(module, words):
    file = documents.module_file(module)
    if not file.exists():
        file = documents.module_file(f"{module}.__main__")
    assert file.exists(), f"there is no {module}"
    if module == "launch.lm_eval":
        return  # the harness' own flags
    flags = documents.flags_of(file)
    for word in words:
        if word in (">", "<", "|"):
            return
        if word.startswith("--"):
            _check_flag(module, flags, *word[2:].partition("=")[::2])


def _check_flag(module, flags, name, value):
    if name.startswith("config."):
        assert "config" in flags, f"{module} takes no --config"
        _check_field(name.removeprefix("config."), value)
        return
    name = name if name in flags else name.removeprefix("no")
    assert name in flags, f"{module} has no --{name}, but {sorted(flags)}"
    choices = flags[name]
    assert choices is None or value in choices, f"--{name} is one of {choices}"
    if name == "config" and "…" not in value:
        path, _, variant = value.partition(":")
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        module.get_config(*[variant] if variant else [])


def _check_field(name, value):
    section, field = name.split(".")
    default = getattr(getattr(Config(), section), field)
    if isinstance(default, str) or value in ("", "…"):
        return
    parsed = {"true": True, "false": False}.get(value.lower(), value)
    if isinstance(parsed, str):
        parsed = ast.literal_eval(parsed)
    kinds = (int, float) if default is None or isinstance(default, float) else ()
    assert isinstance(parsed, kinds or type(default)), f"--config.{name}={value}"


@pytest.mark.parametrize("page", documents.PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", documents.PAGES, ids=lambda p: p.name)
def test_files_and_fields_named_in_the_text_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for name in re.findall(r"`([^`\s]+)`", text):
        if re.fullmatch(r"(radit_jax|launch|configs|tests|benchmarks)/[\w/.]+", name):
            assert (documents.ROOT / name).exists(), name
        if match := re.fullmatch(r"(?:--config\.)?([a-z_]+)\.([a-z_]+)(?:=.*)?", name):
            section, field = match.groups()
            if hasattr(Config(), section):
                assert hasattr(getattr(Config(), section), field), name


def test_the_picture_is_self_contained():
    text = (documents.ROOT / "docs" / "loop.svg").read_text()
    tags = {
        element.tag.partition("}")[2] for element in ElementTree.fromstring(text).iter()
    }
    assert {"title", "desc", "style"} <= tags
    assert not {"script", "image", "foreignObject"} & tags
    assert re.findall(r"https?://[^\s\"]+", text) == ["http://www.w3.org/2000/svg"]


def test_every_benchmark_is_described_as_it_is_measured():
    text = (documents.ROOT / "docs" / "benchmarks.md").read_text()
    for one in BENCHMARKS.values():
        kind = {"generate": "generated", "choice": "chosen"}[one.kind]
        passages = "yes" if one.with_background else "no"
        row = f"| `{one.name}` | {kind} | `{one.metric}` | `{one.score}` | {passages} |"
        assert row in text


def test_the_layers_are_those_that_are_tested():
    text = (documents.ROOT / "CONTRIBUTING.md").read_text()
    (line,) = re.findall(r"`(types, [^`]* < [^`]*)`", text)
    assert [set(names.split(", ")) for names in line.split(" < ")] == list(LAYERS)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A folder in which the documents' commands can be run."""
    run = os.environ.get("RADIT_DOCUMENTED_RUN", "")
    if not run:
        pytest.skip("RADIT_DOCUMENTED_RUN names no finished run of the quickstart")
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("launch", "configs", "radit_jax", "benchmarks", "tests", "docs"):
        (folder / name).symlink_to(documents.ROOT / name)
    shutil.copytree(run, folder / "runs" / "quickstart")
    (folder / ".cache").symlink_to(_cache())  # as the run's config may name it
    _write_own_data(folder, _cache())
    (folder / "questions.txt").write_text("Who wrote the charter?\n")
    return folder


def _cache():
    return Path(os.environ.get("RADIT_CACHE", ".cache")).absolute()


def _write_own_data(folder, cache):
    """A reader's documents and questions: a few of the quickstart's."""
    texts = cache / "quickstart"
    documents_lines = (texts / "documents.jsonl").read_text().splitlines()[:300]
    ids = {json.loads(line)["id"] for line in documents_lines}
    (folder / "my_documents").mkdir()
    documents_file = folder / "my_documents" / "documents.jsonl"
    documents_file.write_text("\n".join(documents_lines) + "\n")
    for name, most in (("train", 48), ("dev", 8)):
        lines = (texts / f"{name}.jsonl").read_text().splitlines()
        kept = [one for one in lines if ids & set(json.loads(one)["positives"])][:most]
        assert len(kept) == most
        (folder / f"my_{name}.jsonl").write_text("\n".join(kept) + "\n")


@pytest.mark.documented
@pytest.mark.parametrize("block", [b for b in BLOCKS if not b.why_not], ids=str)
def test_commands_run(block, checkout):
    python = shlex.quote(sys.executable)
    script = re.sub(r"^(\s*)python ", rf"\1{python} ", block.text, flags=re.M)
    # What they install is here already: their extras are looked at above.
    script = re.sub(r"^(pip install|\. \.venv).*$", "true", script, flags=re.M)
    # The tests' eight devices are not a reader's: rows that eight cannot share are
    # computed eight times.
    own = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=checkout,
        env=own
        | {"PYTHONPATH": str(checkout), "JAX_PLATFORMS": "cpu"}
        | {"RADIT_CACHE": str(_cache())},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
