"""Opening a model by its path alone, with its tokenizer checked against it."""

from etils import epath

from radit_jax.models import gguf, huggingface, sentence_transformers, shards
from radit_jax.models.decoder import Decoder
from radit_jax.models.dual_encoder import Tower
from radit_jax.models.sentence_transformers import Settings
from radit_jax.models.shards import Place
from radit_jax.models.weights import CheckpointError
from radit_jax.text.tokenizer import EncoderTokenizer, LMTokenizer


def load_lm(
    path: epath.PathLike,
    compute_dtype: str = "float32",
    *,
    remat: bool = False,
    place: Place = shards.on_default_device,
) -> tuple[Decoder, LMTokenizer]:
    """Opens a language model; see `huggingface.load_decoder` for the arguments.

    Args:
      path: a Hugging Face directory, or a .gguf file.
      compute_dtype: of matrix products' inputs, "float32" or "bfloat16".
      remat: recompute layer activations in the backward pass.
      place: where a parameter of a shape and logical axes lies.

    Raises:
      CheckpointError: if the model can't be read, or has fewer rows than its
        tokenizer has ids.
    """
    path = epath.Path(path).expanduser()
    tokenizer = load_lm_tokenizer(path)
    load = gguf.load_decoder if _is_gguf(path) else huggingface.load_decoder
    decoder = load(path, compute_dtype, remat=remat, place=place)
    _check_vocabulary(tokenizer.vocab_size, decoder.config.vocab_size, path)
    return decoder, tokenizer


def load_lm_tokenizer(path: epath.PathLike) -> LMTokenizer:
    """The tokenizer of `load_lm` alone: stages that only count tokens need no more."""
    path = epath.Path(path).expanduser()
    if _is_gguf(path):
        return gguf.load_tokenizer(path)
    return LMTokenizer.from_directory(path)


def _is_gguf(path: epath.Path) -> bool:
    return path.suffix.lower() == ".gguf"


def load_tower(
    path: epath.PathLike,
    *,
    pooling: str = "",
    normalize: bool = False,
    max_tokens: int = 0,
    prefix: str = "",
    compute_dtype: str = "float32",
) -> Tower:
    """Opens one tower of a dual encoder.

    Args:
      path: a directory of a BERT or DPR model, by Hugging Face or by
        sentence-transformers.
      pooling: "cls" or "mean"; "": the directory's own, and its own `normalize`.
      normalize: divide embeddings by their L2 norm.
      max_tokens: longer texts are cut, `[CLS]` and `[SEP]` included; 0: at the
        directory's own limit, or where the positions end.
      prefix: put before every text, e.g. "query: " for E5.
      compute_dtype: of matrix products' inputs, "float32" or "bfloat16".

    Raises:
      CheckpointError: if the model can't be read, does not fit its tokenizer or
        `max_tokens`, or its directory wants another pooling.
    """
    path = epath.Path(path).expanduser()
    own = _settings(path, pooling, normalize)
    encoder = huggingface.load_encoder(own.folder, compute_dtype)
    tokenizer = EncoderTokenizer.from_directory(own.folder)
    _check_vocabulary(tokenizer.vocab_size, encoder.config.vocab_size, path)
    max_positions = encoder.config.max_positions
    if max_tokens > max_positions:
        raise CheckpointError(
            f"{path} has {max_positions} positions, but max_tokens is {max_tokens}; "
            "lower --config.encoder.max_query_tokens or max_passage_tokens."
        )
    max_tokens = max_tokens or min(own.max_tokens or max_positions, max_positions)
    return Tower(encoder, tokenizer, own.pooling, own.normalize, max_tokens, prefix)


def _settings(path: epath.Path, pooling: str, normalize: bool) -> Settings:
    """The directory's settings, or those given where it has none of its own."""
    own = sentence_transformers.read(path)
    if own is None and not pooling:
        raise CheckpointError(
            f"{path} has no modules.json, so it does not say how it pools; set "
            "--config.encoder.pooling to cls or mean, and normalize, as its "
            "publisher says."
        )
    if own is None:
        return Settings(path, pooling, normalize)
    # A wrong pooling costs recall and raises nothing, so neither side wins silently.
    wanted = (pooling or own.pooling, normalize or (not pooling and own.normalize))
    if wanted != (own.pooling, own.normalize):
        raise CheckpointError(
            f"{path}/modules.json says pooling={own.pooling!r} and normalize="
            f"{own.normalize}, the config says {pooling!r} and {normalize}; set "
            "--config.encoder.pooling='' and normalize=False to take the directory's, "
            "or take its modules.json away to overrule it."
        )
    return own


def save_tower(tower: Tower, directory: epath.PathLike) -> None:
    """Writes a tower that `load_tower`, transformers and sentence-transformers open.

    The prefix is not written: it belongs to the config.

    Raises:
      CheckpointError: if the directory exists.
    """
    path = epath.Path(directory)
    huggingface.save_encoder(tower.encoder, path, tower.tokenizer)
    settings = Settings(path, tower.pooling, tower.normalize, tower.max_tokens)
    sentence_transformers.write(path, settings)


def _check_vocabulary(num_ids: int, num_rows: int, path: epath.Path) -> None:
    if num_ids > num_rows:
        raise CheckpointError(
            f"{path}: the tokenizer has {num_ids} ids, but the model {num_rows} "
            "embedding rows; they are not of the same model."
        )
