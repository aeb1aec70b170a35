"""Anyone's questions, and what was found for them as JSON lines."""

import json
from collections.abc import Iterable, Sequence

from etils import epath

from radit_jax.corpus import json_lines, records
from radit_jax.corpus.json_lines import CorpusError, Problems
from radit_jax.corpus.store import ChunkStore
from radit_jax.types import Instruction, Retrieved


def read_queries(path: epath.PathLike) -> list[Instruction]:
    """Reads JSON lines (.jsonl) of `question` and maybe `id`, or a question a line.

    Without an id, a question gets `file:line`. Blank lines pass.

    Raises:
      CorpusError: with the first 20 problems, or for a file without questions.
    """
    path = epath.Path(path).expanduser()
    if not path.exists() or path.is_dir():
        raise CorpusError(f"{path} is not a file of questions; check --queries.")
    problems = Problems(f"the questions in {path}")
    found: dict[str, Instruction] = {}
    for place, record in _records(path, problems):
        fault = json_lines.string_problem(record.get("question"))
        if "question" not in record:
            fault = f"is missing; found {list(record)}"
        if fault:
            problems.add(f"{place}: 'question' {fault}; correct it, or drop the line.")
        query_id = json_lines.identifier(record.get("id", place))
        if query_id is None or query_id in found:
            problems.add(
                f"{place}: 'id' is {record['id']!r:.60}, which is no id or not the "
                "first such; give a string or whole number of its own, or none."
            )
        elif not fault:
            found[query_id] = Instruction(query_id, record["question"].strip(), ())
    problems.check()
    if not found:
        raise CorpusError(f"{path} holds no questions; write one a line.")
    return list(found.values())


def _records(path: epath.Path, problems: Problems):
    """Each line's place and object; a line of plain text is a question."""
    if path.suffix.lower() == ".jsonl":
        for number, record in json_lines.read_objects(path, path.name, problems):
            yield f"{path.name}:{number}", record
        return
    for number, content in enumerate(path.read_bytes().splitlines(), start=1):
        place = f"{path.name}:{number}"
        try:
            line = records.decode(content)
        except records.Fault as fault:
            problems.add(f"{place} {fault}")
            continue
        if line.strip():
            yield place, {"question": line}


def write_found(
    path: epath.PathLike, found: Iterable[Retrieved], store: ChunkStore
) -> None:
    """Writes a JSON line a question: `id`, `question` and `chunks`, best first."""
    with epath.Path(path).open("w") as file:
        for item in found:
            chunks = store.get_many(item.chunk_ids)
            record = {
                "id": item.instruction.id,
                "question": item.instruction.question,
                "chunks": _chunk_records(item, chunks),
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _chunk_records(item: Retrieved, chunks: Sequence) -> list[dict]:
    return [
        {
            "score": score,
            "chunk_id": chunk.id,
            "document_id": chunk.document_id,
            "title": chunk.title,
            "text": chunk.text,
        }
        for chunk, score in zip(chunks, item.scores, strict=True)
    ]
