"""A benchmark's files as records: JSON, JSON lines, CSV, TSV, label lists and Arrow."""

import ast
import csv
import io
import json
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from etils import epath

from radit_jax.corpus import records
from radit_jax.corpus.json_lines import CorpusError, Problems
from radit_jax.corpus.records import Fault
from radit_jax.evaluation.benchmarks.item import Benchmark, Record
from radit_jax.instruct.tasks import raw_files

Numbered = Iterator[tuple[str, Record]]  # place, record


def find(benchmark: Benchmark, split: str, folder: epath.PathLike) -> list[epath.Path]:
    """A split's files: the publisher's, or one of the split's name, or the hub's.

    All but Arrow may be gzipped. `{split}.jsonl` and `{split}.json` hold records of
    the publisher's or the hub's form, labels included.

    Args:
      benchmark: whose files lie in the folder of its name.
      split: one of its splits.
      folder: of all benchmarks.

    Raises:
      CorpusError: there are none, or no such split.
    """
    if split not in benchmark.splits:
        raise CorpusError(
            f"{benchmark.name} has no split {split!r}; it has "
            f"{', '.join(benchmark.splits)}."
        )
    own = epath.Path(folder).expanduser() / benchmark.name
    names = benchmark.source.files[split]
    for candidates in (names, (f"{split}.jsonl",), (f"{split}.json",)):
        found = [_packed_or_not(own / name) for name in candidates]
        if all(path.exists() for path in found):
            return found
    hub = benchmark.source.hub.get(split, split)
    arrows = sorted({*own.glob(f"{hub}/*.arrow"), *own.glob(f"*/{hub}/*.arrow")})
    if arrows:
        return arrows
    raise CorpusError(
        f"{benchmark.name}, {split}: {own} has neither {' and '.join(names)} nor "
        f"{split}.jsonl nor {hub}/*.arrow. Get the files from "
        f"{benchmark.source.homepage}, or save the set there with "
        "`datasets.load_dataset(…).save_to_disk`."
    )


def _packed_or_not(path: epath.Path) -> epath.Path:
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.exists() and not path.exists() else path


def read(paths: Sequence[epath.Path], label_field: str, problems: Problems) -> Numbered:
    """The records of a split's files, each with its place, for messages.

    Args:
      paths: from `find`; with a `label_field` of publisher's files, records and labels.
      label_field: of the records, filled from the second file; "": there is none.
      problems: is told of what can't be read.
    """
    if label_field and len(paths) == 2:
        yield from _labelled(*paths, label_field, problems)
        return
    for path in paths:
        for file in _files_in(path):
            yield from _records(file, problems)


def _files_in(path: epath.Path) -> list[epath.Path]:
    """The file, or a folder's CSV files (MMLU has one a subject)."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if ".csv" in file.suffixes)


def _records(path: epath.Path, problems: Problems) -> Numbered:
    name = path.name.removesuffix(".gz")
    if name.endswith(".arrow"):
        yield from _arrow(path, problems)
    elif name.endswith(".jsonl"):
        yield from _json_lines(path, problems)
    elif name.endswith(".json"):
        yield from _json(path, problems)
    elif name.endswith(".qa.csv"):
        yield from _dpr_rows(path, problems)
    else:
        yield from _csv(path, problems)


def _lines(path: epath.Path, problems: Problems) -> Iterator[tuple[str, str]]:
    """Lines with text, each with its place."""
    with raw_files.opened(path) as file:
        for number, line in enumerate(file, start=1):
            place = f"{path.name}:{number}"
            try:
                text = records.decode(line).strip("\r\n")
            except Fault as fault:
                problems.add(f"{place} {fault}")
                continue
            if text.strip():
                yield place, text


def _json_lines(path: epath.Path, problems: Problems) -> Numbered:
    for place, line in _lines(path, problems):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(f"{place} is not valid JSON ({error}). Fetch the file again.")
            continue
        if isinstance(record, dict):
            yield place, record
        else:
            problems.add(f"{place} is {record!r:.40}, not an object. Correct it.")


def _json(path: epath.Path, problems: Problems) -> Numbered:
    """An array of objects, or TriviaQA's, which an object has at `Data`."""
    with raw_files.opened(path) as file:
        found = raw_files.parse(file.read(), path.name)
    found = found.get("Data") if isinstance(found, dict) else found
    if not isinstance(found, list):
        problems.add(f"{path.name} has no array of records. Fetch the file again.")
        return
    for number, record in enumerate(found):
        if isinstance(record, dict):
            yield f"{path.name}, record {number}", record
        else:
            problems.add(f"{path.name}, record {number} is {record!r:.40}: correct it.")


def _dpr_rows(path: epath.Path, problems: Problems) -> Numbered:
    """DPR's question, tab, Python list of answers, quoted where it holds quotes."""
    with raw_files.opened(path) as file, io.TextIOWrapper(file, newline="") as text:
        for number, row in enumerate(csv.reader(text, delimiter="\t"), start=1):
            place = f"{path.name}, row {number}"
            try:
                question, answers = row
                yield place, {"question": question, "answer": ast.literal_eval(answers)}
            except (ValueError, SyntaxError):
                problems.add(
                    f"{place} is {row!r:.60}, not a question and a list of answers. "
                    "Fetch the file again."
                )


def _csv(path: epath.Path, problems: Problems) -> Numbered:
    """MMLU's question, four choices and letter; the file is named by its subject."""
    subject = path.name.split(".")[0].rsplit("_", 1)[0]
    with raw_files.opened(path) as file, io.TextIOWrapper(file, newline="") as text:
        for number, row in enumerate(csv.reader(text), start=1):
            place = f"{path.name}, row {number}"
            if len(row) != 6:
                problems.add(
                    f"{place} has {len(row)} columns, not a question, four choices and "
                    "a letter. Fetch the file again."
                )
                continue
            question, *choices, answer = row
            record = {"question": question, "choices": choices, "answer": answer}
            yield place, record | {"subject": subject}


def _labelled(
    path: epath.Path, labels_path: epath.Path, field: str, problems: Problems
) -> Numbered:
    """Records with the line of the labels' file that belongs to each."""
    found = list(_json_lines(path, problems))
    labels = [line.strip() for _, line in _lines(labels_path, problems)]
    if len(found) != len(labels):
        problems.add(
            f"{path.name} has {len(found)} records, but {labels_path.name} "
            f"{len(labels)} labels; take both files of one release."
        )
        return
    for (place, record), label in zip(found, labels, strict=True):
        yield place, record | {field: label}


def _arrow(path: epath.Path, problems: Problems) -> Numbered:
    arrow = _pyarrow()
    try:
        with path.open("rb") as file, arrow.ipc.open_stream(file) as stream:
            rows: list[Any] = stream.read_all().to_pylist()
    except (arrow.ArrowInvalid, OSError) as error:
        problems.add(f"{path.name} can't be read ({error}). Fetch it again.")
        return
    for number, record in enumerate(rows):
        yield f"{path.parent.name}/{path.name}, record {number}", record


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.ipc
    except ModuleNotFoundError as error:
        raise CorpusError(
            "Arrow files are read with pyarrow, which is not installed. Run: pip "
            "install 'radit_jax[benchmarks]'"
        ) from error
    return pyarrow
