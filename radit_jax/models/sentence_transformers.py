"""Directories as the sentence-transformers package lays them out, in and out.

`modules.json` lists what a text passes through: an encoder, a pooling, and perhaps
the division by the norm. Only the files are read; that package is not needed.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from etils import epath

from radit_jax.models.weights import raise_problems

_MODULES = "modules.json"
_POOLINGS = ("cls", "mean")
_OLD_NAMES = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
_OLD_PREFIX = "pooling_mode_"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How a directory wants its encoder to be used."""

    folder: epath.Path  # where the encoder and the tokenizer are
    pooling: str  # "cls" or "mean"
    normalize: bool  # divide embeddings by their L2 norm
    max_tokens: int = 0  # of a text; 0: the directory does not say


def read(directory: epath.PathLike) -> Settings | None:
    """The directory's own settings; None where it has no modules.json.

    Raises:
      CheckpointError: for all that would be computed differently here, together.
    """
    path = epath.Path(directory)
    if not (path / _MODULES).exists():
        return None
    modules = _read_json(path / _MODULES)
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    raise_problems(f"{path}/{_MODULES}", [*_order_problems(kinds)])
    folder = path / modules[0]["path"]
    pooling = _read_json(path / modules[1]["path"] / "config.json")
    modes = _poolings(pooling)
    transformer = _read_json(folder / "sentence_bert_config.json")
    problems = [*_pooling_problems(pooling, modes), *_case_problems(transformer)]
    raise_problems(str(path), problems)
    max_tokens = transformer.get("max_seq_length")
    if max_tokens is None:  # since its version 5.2 only the tokenizer says
        tokenizer = _read_json(folder / "tokenizer_config.json")
        max_tokens = tokenizer.get("model_max_length", 0)
    # A tokenizer without a limit says 1e30.
    max_tokens = int(max_tokens) if max_tokens < 1e9 else 0
    return Settings(folder, modes[0], "Normalize" in kinds, max_tokens)


def write(directory: epath.PathLike, settings: Settings) -> None:
    """Writes the files that `read` reads, beside an encoder in `directory` itself."""
    path = epath.Path(directory)
    kinds = {"Transformer": "", "Pooling": "1_Pooling"}
    kinds |= {"Normalize": "2_Normalize"} if settings.normalize else {}
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": folder,
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, (kind, folder) in enumerate(kinds.items())
    ]
    lengths = {"max_seq_length": settings.max_tokens or None, "do_lower_case": False}
    width = _read_json(path / "config.json")["hidden_size"]
    flags = {name: mode == settings.pooling for name, mode in _OLD_NAMES.items()}
    _write_json(path / "sentence_bert_config.json", lengths)
    (path / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": width} | flags
    _write_json(path / "1_Pooling" / "config.json", pooling)
    _write_json(path / _MODULES, modules)


def _order_problems(kinds: list[str]) -> Iterator[str]:
    if kinds not in (
        ["Transformer", "Pooling"],
        ["Transformer", "Pooling", "Normalize"],
    ):
        yield (
            f"its modules are {kinds}; supported here are a Transformer, a Pooling "
            "and perhaps a Normalize. Use another model."
        )


def _poolings(raw: dict[str, Any]) -> list[str]:
    """The poolings' names, from one field since version 5, from many flags before."""
    if "pooling_mode" in raw:
        mode = raw["pooling_mode"]
        return [mode] if isinstance(mode, str) else list(mode)
    return [
        _OLD_NAMES.get(name, name.removeprefix(_OLD_PREFIX))
        for name, value in raw.items()
        if name.startswith(_OLD_PREFIX) and value
    ]


def _pooling_problems(raw: dict[str, Any], modes: list[str]) -> Iterator[str]:
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        yield f"it pools by {modes}; supported here is one of {list(_POOLINGS)}."
    if not raw.get("include_prompt", True):
        yield "include_prompt=false leaves prefixes out of the mean; not supported."


def _case_problems(raw: dict[str, Any]) -> Iterator[str]:
    if raw.get("do_lower_case"):
        yield (
            "sentence_bert_config.json has do_lower_case=true; set it to false if the "
            "tokenizer lowers the case by itself, as uncased BERT's does."
        )


def _read_json(path: epath.Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else {}


def _write_json(path: epath.Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
