"""Documents as the user has them: JSON lines, text or Markdown, a file or a folder."""

from collections.abc import Iterator
from typing import Any

from etils import epath

from radit_jax.corpus import json_lines
from radit_jax.corpus.json_lines import CorpusError, Problems
from radit_jax.types import Document

_SUFFIXES = (".jsonl", ".txt", ".md")


def read_documents(
    path: epath.PathLike,
    *,
    id_field: str = "id",
    title_field: str = "title",
    text_field: str = "text",
) -> Iterator[Document]:
    """Yields the documents, files in the order of their names.

    A .txt or .md file is one document; its id is its path within the folder. A line
    of a .jsonl file is one; without an id it gets `path:line`.

    Args:
      path: a file, or a folder that is read to its depths; hidden files are left out.
      id_field: JSON field of the id, a string or whole number; may be absent.
      title_field: JSON field of the title; may be absent or null.
      text_field: JSON field of the text; must be there.

    Raises:
      CorpusError: after the last document, with the first 20 problems: so what was
        made of the documents counts only once the iterator has ended.
    """
    path = epath.Path(path).expanduser()
    problems = Problems(f"the documents in {path}")
    seen: set[str] = set()
    for file in _files(path, problems):
        name = file.name if file == path else file.relative_to(path).as_posix()
        if file.suffix.lower() == ".jsonl":
            found = _from_lines(file, name, id_field, title_field, text_field, problems)
        else:
            found = _from_text(file, name, problems)
        for place, document in found:
            if document.id in seen:
                problems.add(
                    f"{place} repeats the id {document.id!r}. Give every document an "
                    "id of its own, or leave the field out."
                )
                continue
            seen.add(document.id)
            yield document
    problems.check()
    if not seen:
        raise CorpusError(
            f"{path} holds no documents. Name a file or folder with {_SUFFIXES} files "
            "by --config.corpus.documents."
        )


def _files(path: epath.Path, problems: Problems) -> list[epath.Path]:
    if not path.exists():
        problems.add(f"{path} does not exist. Check --config.corpus.documents.")
        return []
    found = []
    for file in sorted(_walk(path)):
        if file.suffix.lower() in _SUFFIXES:
            found.append(file)
        else:
            problems.add(
                f"{file} ends in {file.suffix!r}, which can't be read. Convert it to "
                f"one of {_SUFFIXES}, or move it out of the folder."
            )
    return found


def _walk(path: epath.Path) -> Iterator[epath.Path]:
    if not path.is_dir():
        yield path
        return
    for child in path.iterdir():
        if not child.name.startswith("."):
            yield from _walk(child)


def _from_text(
    file: epath.Path, name: str, problems: Problems
) -> Iterator[tuple[str, Document]]:
    text = json_lines.decode(file.read_bytes(), name, problems)
    if text is None:
        return
    if not text.strip():
        problems.add(f"{name} is empty. Fill it, or move it out of the folder.")
        return
    yield name, Document(name, text.replace("\r\n", "\n"))


def _from_lines(
    file: epath.Path,
    name: str,
    id_field: str,
    title_field: str,
    text_field: str,
    problems: Problems,
) -> Iterator[tuple[str, Document]]:
    for number, record in json_lines.read_objects(file, name, problems):
        place = f"{name}:{number}"
        if text_field not in record:
            problems.add(
                f"{place} has no {text_field!r} field; found {list(record)}. Name the "
                "field with --config.corpus.text_field."
            )
            continue
        fault = json_lines.string_problem(record[text_field])
        if fault:
            problems.add(
                f"{place}: {text_field!r} {fault}. Correct the line, or leave it out."
            )
            continue
        title = _title(record, title_field, place, problems)
        document_id = _id(record, id_field, place, problems)
        if title is not None and document_id is not None:
            yield place, Document(document_id, record[text_field], title)


def _title(
    record: dict[str, Any], field: str, place: str, problems: Problems
) -> str | None:
    value = record.get(field)
    if value is None or value == "":
        return ""
    fault = json_lines.string_problem(value)
    if fault:
        problems.add(
            f"{place}: {field!r} {fault}. Correct it, leave it out, or name another "
            "field with --config.corpus.title_field."
        )
        return None
    return value.strip()


def _id(
    record: dict[str, Any], field: str, place: str, problems: Problems
) -> str | None:
    if record.get(field) is None:
        return place
    value = json_lines.identifier(record[field])
    if value is None:
        problems.add(
            f"{place}: {field!r} is {record[field]!r:.60}, not a string or a whole "
            "number. Correct it, or name another field with --config.corpus.id_field."
        )
    return value
