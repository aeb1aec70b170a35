"""The files of a tokenizer, in the Hugging Face layout: opened, and written again."""

import json
from collections.abc import Mapping
from typing import Any

import tokenizers
from etils import epath

_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


class TokenizerError(ValueError):
    """A tokenizer that cannot be opened or used: the facts and the remedy."""


def open_backend(
    directory: epath.Path,
) -> tuple[tokenizers.Tokenizer, dict[str, bytes]]:
    """The tokenizer in a directory, and its publisher's files by name.

    Raises:
      TokenizerError: there is none, or it can't be read.
    """
    if not directory.is_dir():
        raise TokenizerError(
            f"there is no directory {directory} to read a tokenizer from. Name a "
            "Hugging Face directory that holds tokenizer.json."
        )
    files = {
        name: (directory / name).read_bytes()
        for name in _FILES
        if (directory / name).exists()
    }
    if "tokenizer.json" not in files:
        return _convert(directory), files
    try:
        return tokenizers.Tokenizer.from_buffer(files["tokenizer.json"]), files
    except Exception as error:  # the bindings raise plain Exception
        raise TokenizerError(
            f"{directory / 'tokenizer.json'} can't be read: {error}. "
            "Copy the file again, or save it with a current `transformers`."
        ) from error


def _convert(directory: epath.Path) -> tokenizers.Tokenizer:
    """A backend from older files (vocab.txt, tokenizer.model), where that is known."""
    import transformers  # slow to import, and few directories need it

    try:
        return transformers.AutoTokenizer.from_pretrained(
            directory, local_files_only=True
        ).backend_tokenizer
    except Exception as error:  # whatever the conversion of an unknown file raises
        raise TokenizerError(
            f"{directory} has no tokenizer.json, and its other files can't be "
            f"converted ({error}). Save the tokenizer there with `transformers`: "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)."
        ) from error


def special_id(
    directory: epath.Path, backend: tokenizers.Tokenizer, name: str
) -> int | None:
    """Id of the bos, eos or pad token: the first file that speaks of it decides.

    Raises:
      TokenizerError: the token that a file names is not in the vocabulary.
    """
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        token = _json(directory / file).get(f"{name}_token", "")
        token = token["content"] if isinstance(token, dict) else token
        if token == "":  # LLaMA 1 conversions say so of tokens that they do have
            continue
        if token is not None and backend.token_to_id(token) is None:
            raise TokenizerError(
                f"{directory / file} names {token!r} as its {name}_token, but the "
                "vocabulary has no such token. Correct the name, or add the token."
            )
        return None if token is None else backend.token_to_id(token)
    value = _json(directory / "config.json").get(f"{name}_token_id")
    return value[0] if isinstance(value, list) else value


def _json(path: epath.Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def vocab_size(backend: tokenizers.Tokenizer) -> int:
    """Highest id + 1: an embedding needs that many rows, even where ids are missing."""
    return 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)


def save(
    directory: epath.Path,
    backend: str,
    config: dict[str, Any],
    files: Mapping[str, bytes],
) -> None:
    """Writes `backend` and `config`, or the publisher's `files` where given."""
    directory.mkdir(parents=True, exist_ok=True)
    config_bytes = json.dumps(config, indent=2, ensure_ascii=False).encode()
    made = {"tokenizer.json": backend.encode(), "tokenizer_config.json": config_bytes}
    for name, content in (made | dict(files)).items():
        (directory / name).write_bytes(content)
