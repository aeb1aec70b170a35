"""A user's documents, read by this process alone: see `formats` for the formats."""

import collections
from collections.abc import Iterator

from absl import logging
from etils import epath

from radit_jax.corpus import formats
from radit_jax.corpus.json_lines import CorpusError, Problems
from radit_jax.corpus.records import BadRecord, Fields, Skipped
from radit_jax.types import Document


def read_documents(
    path: epath.PathLike,
    *,
    id_field: str = "id",
    title_field: str = "title",
    text_field: str = "text",
) -> Iterator[Document]:
    """Yields the documents, files in the order of their names.

    A .txt or .md file is one document; its id is its path within the folder. A line
    of a .jsonl file is one; without an id it gets `path:line`. What is left out on
    purpose, e.g. a Wikipedia dump's redirects, is counted in the log.

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
    fields = Fields(id_field, title_field, text_field)
    seen: set[str] = set()
    skipped: collections.Counter[str] = collections.Counter()
    for part, place, found in _records(path, fields, problems):
        if isinstance(found, Skipped):
            skipped[found.reason] += 1
        elif isinstance(found, BadRecord):
            problems.add(str(found))
        elif found.id in seen and part.format == "wet":
            skipped["web page crawled before"] += 1
        elif found.id in seen:
            problems.add(
                f"{place} repeats the id {found.id!r}. Give every document an id of "
                "its own, or leave the field out."
            )
        else:
            seen.add(found.id)
            yield found
    if skipped:
        logging.info("Left out of %s: %s", path, dict(skipped))
    problems.check()
    if not seen:
        raise CorpusError(
            f"{path} holds no documents. Name a file or folder with "
            f"{formats.SUFFIXES} files by --config.corpus.documents."
        )


def _records(
    path: epath.Path, fields: Fields, problems: Problems
) -> Iterator[tuple[formats.Part, str, Document | BadRecord | Skipped]]:
    """What there is, each with its place; a damaged file is a problem like others."""
    for part in formats.parts(path, problems=problems):
        try:
            for place, raw in formats.read_raw(part):
                for found in formats.parse(part.format, place, raw, fields):
                    yield part, place, found
        except CorpusError as error:
            problems.add(str(error))
