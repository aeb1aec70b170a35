"""What was built, for people: a table of the sets, and examples to read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from radit_jax.instruct.rendering import Rendered
from radit_jax.text.tokenizer import LMTokenizer


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Lines of aligned columns; the first record names them, text stands left."""
    if not records:
        return "(none)"
    cells = [list(records[0])] + [[_cell(v) for v in r.values()] for r in records]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    is_text = [isinstance(value, str) for value in records[0].values()]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(row, widths, is_text, strict=True)
        ).rstrip()
        for row in cells
    )


def _cell(value: Any) -> str:
    return f"{value:.2%}" if isinstance(value, float) else str(value)


def sample(name: str, rendered: Rendered, tokenizer: LMTokenizer) -> dict[str, Any]:
    """An example as text, from its tokens: what the LM reads, and what it learns."""
    example = rendered.example
    prompt, answer = (
        example.tokens[: example.num_prompt_tokens],
        example.tokens[example.num_prompt_tokens :],
    )
    return {
        "kind": rendered.kind,
        "set": name,
        "id": example.id,
        "prompt": tokenizer.decode(prompt),
        "answer": tokenizer.decode(answer),
        "prompt_tokens": len(prompt),
        "answer_tokens": len(answer),
        "background_cut": rendered.background_cut,
        "turns_dropped": rendered.turns_dropped,
    }


def markdown(samples: Iterable[Mapping[str, Any]], tables: Mapping[str, str]) -> str:
    """The tables, then the samples: the prompt, and below it the answer."""
    lines = ["# Training examples", ""]
    for title, text in tables.items():
        lines += [f"## {title}", "", *_block(text), ""]
    kind = None
    for one in samples:
        if one["kind"] != kind:
            kind = one["kind"]
            lines += [f"## Kind: {kind}", ""]
        facts = {key: value for key, value in one.items() if key not in _SHOWN}
        said = ", ".join(f"{key} {value}" for key, value in facts.items() if value)
        lines += [f"### {one['set']}: {one['id']}", "", said, ""]
        lines += [*_block(one["prompt"]), "", "then", "", *_block(one["answer"]), ""]
    return "\n".join(lines)


_SHOWN = ("kind", "set", "id", "prompt", "answer")


def _block(text: str) -> list[str]:
    """An indented block, which shows every character as it is."""
    return [f"    {line}".rstrip() for line in text.split("\n")]
