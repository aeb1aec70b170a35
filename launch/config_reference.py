"""Prints the configuration reference, from the comments of `radit_jax/config.py`.

python -m launch.config_reference > docs/configuration.md
"""

import ast
import dataclasses
import inspect
from collections.abc import Iterator

from radit_jax import config as config_lib
from radit_jax.config import Config

_HEAD = """\
# Configuration reference

Every field is a flag, `--config.SECTION.FIELD=VALUE`, of every launcher that takes
`--config`, and an attribute in the files of `configs/`. A tuple is written as in
Python: `--config.retrieve.splits="('dev',)"`. A value that cannot work is refused
before any work begins, with the remedy.

This page is printed by `python -m launch.config_reference` from
`radit_jax/config.py`; a test keeps the two in step.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """What the source says of one field."""

    name: str
    type: str
    default: str
    comment: str


def render() -> str:
    """The whole page."""
    blocks = [_HEAD]
    for section in dataclasses.fields(Config):
        kind = section.default_factory
        rows = [_row(field) for field in fields(kind)]
        blocks.append(
            "\n".join(
                [
                    f"## `{section.name}`\n\n{_prose(inspect.getdoc(kind))}\n",
                    "| field | type | default | what it is |\n|---|---|---|---|",
                    *rows,
                    "",
                ]
            )
        )
    return "\n".join(blocks)


def fields(kind: type) -> Iterator[Field]:
    """A section's fields: a comment stands over its field, or behind it, or both."""
    lines = inspect.getsource(config_lib).splitlines()
    for node in _class(kind).body:
        if not isinstance(node, ast.AnnAssign):
            continue
        above, number = [], node.lineno - 2
        while lines[number].lstrip().startswith("#"):
            above.insert(0, lines[number].strip().lstrip("# "))
            number -= 1
        behind = lines[node.end_lineno - 1][node.end_col_offset :].strip()
        comment = " ".join([*above, behind.lstrip("# ")]).strip()
        value, of = ast.unparse(node.value), ast.unparse(node.annotation)
        yield Field(node.target.id, of, value, comment)


def _class(kind: type) -> ast.ClassDef:
    tree = ast.parse(inspect.getsource(config_lib))
    return next(
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )


def _row(field: Field) -> str:
    cells = f"`{field.name}`", _code(field.type), _code(field.default)
    return f"| {' | '.join((*cells, _cell(field.comment)))} |"


def _prose(text: str) -> str:
    return " ".join(text.split())


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(render(), end="")
