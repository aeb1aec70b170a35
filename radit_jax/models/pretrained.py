"""Opening a model by its path alone, with its tokenizer checked against it."""

from etils import epath

from radit_jax.models import gguf, huggingface, weights
from radit_jax.models.decoder import Decoder
from radit_jax.models.dual_encoder import Tower
from radit_jax.models.weights import CheckpointError, Place
from radit_jax.text.tokenizer import EncoderTokenizer, LMTokenizer


def load_lm(
    path: epath.PathLike,
    compute_dtype: str = "float32",
    *,
    remat: bool = False,
    place: Place = weights.on_default_device,
) -> tuple[Decoder, LMTokenizer]:
    """Opens a language model; see `huggingface.load_decoder` for the arguments.

    Args:
      path: a Hugging Face directory, or a .gguf file.
      compute_dtype: of matrix products' inputs, "float32" or "bfloat16".
      remat: recompute layer activations in the backward pass.
      place: puts an array, given with its logical axes, on its device or devices.

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
    pooling: str,
    normalize: bool,
    max_tokens: int,
    prefix: str = "",
    compute_dtype: str = "float32",
) -> Tower:
    """Opens one tower of a dual encoder.

    Args:
      path: a Hugging Face directory of a BERT model.
      pooling: "cls" or "mean".
      normalize: divide embeddings by their L2 norm.
      max_tokens: longer texts are cut, `[CLS]` and `[SEP]` included.
      prefix: put before every text, e.g. "query: " for E5.
      compute_dtype: of matrix products' inputs, "float32" or "bfloat16".

    Raises:
      CheckpointError: if the model can't be read, or does not fit its tokenizer or
        `max_tokens`.
    """
    path = epath.Path(path).expanduser()
    encoder = huggingface.load_encoder(path, compute_dtype)
    tokenizer = EncoderTokenizer.from_directory(path)
    _check_vocabulary(tokenizer.vocab_size, encoder.config.vocab_size, path)
    if max_tokens > encoder.config.max_positions:
        raise CheckpointError(
            f"{path} has {encoder.config.max_positions} positions, but max_tokens is "
            f"{max_tokens}; lower --config.encoder.max_query_tokens or "
            "max_passage_tokens."
        )
    return Tower(encoder, tokenizer, pooling, normalize, max_tokens, prefix)


def _check_vocabulary(num_ids: int, num_rows: int, path: epath.Path) -> None:
    if num_ids > num_rows:
        raise CheckpointError(
            f"{path}: the tokenizer has {num_ids} ids, but the model {num_rows} "
            "embedding rows; they are not of the same model."
        )
