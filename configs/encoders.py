r"""Published dual encoders as they were trained: where to get them, how they embed.

    hf download facebook/dragon-plus-query-encoder --local-dir \
      models/facebook/dragon-plus-query-encoder     # and so on, per Hugging Face id
    python -m launch.run_pipeline --config=configs/encoders.py:dragon_plus \
      --config.corpus.documents=… --config.lm.path=… --workdir=…

The folder `models` is RADIT_MODELS. What the table says is on each model's page; a
page that offers only `pytorch_model.bin` needs one conversion, which the error names.

=================  =========================================================  ========
variant            Hugging Face ids: queries, passages                        width
=================  =========================================================  ========
`dragon_plus`      facebook/dragon-plus-query-encoder, …-context-encoder      768
`contriever`       facebook/contriever-msmarco, both                          768
`e5`               intfloat/e5-base-v2, both                                  768
`dpr`              facebook/dpr-question_encoder-single-nq-base,              768
                   facebook/dpr-ctx_encoder-single-nq-base
`minilm`           sentence-transformers/all-MiniLM-L6-v2, both               384
=================  =========================================================  ========
"""

import os

from radit_jax.config import Config, EncoderConfig


def get_config(variant: str) -> Config:
    """A config whose encoder is `variant`; everything else is the default.

    Raises:
      ValueError: for a variant that is not in the table.
    """
    if variant not in _VARIANTS:
        raise ValueError(
            f"configs/encoders.py has no variant {variant!r}; choose one of "
            f"{sorted(_VARIANTS)}, as in configs/encoders.py:dragon_plus."
        )
    config = Config()
    config.encoder = _VARIANTS[variant]()
    return config


def dragon_plus() -> EncoderConfig:
    """DRAGON+ (Lin et al. 2023), the paper's: two towers, raw [CLS], dot product."""
    return EncoderConfig(
        query_path=_path("facebook/dragon-plus-query-encoder"),
        passage_path=_path("facebook/dragon-plus-context-encoder"),
        pooling="cls",
    )


def contriever() -> EncoderConfig:
    """Contriever (Izacard et al. 2022): one model, mean of the tokens, dot product."""
    path = _path("facebook/contriever-msmarco")
    return EncoderConfig(query_path=path, passage_path=path, pooling="mean")


def e5() -> EncoderConfig:
    """E5 (Wang et al. 2022): one model, told apart by prefixes; cosine over 0.01."""
    path = _path("intfloat/e5-base-v2")
    return EncoderConfig(
        query_path=path,
        passage_path=path,
        pooling="mean",
        normalize=True,
        query_prefix="query: ",
        passage_prefix="passage: ",
        temperature=0.01,
    )


def dpr() -> EncoderConfig:
    """DPR (Karpukhin et al. 2020): two towers, raw [CLS], dot product."""
    return EncoderConfig(
        query_path=_path("facebook/dpr-question_encoder-single-nq-base"),
        passage_path=_path("facebook/dpr-ctx_encoder-single-nq-base"),
        pooling="cls",
    )


def minilm() -> EncoderConfig:
    """all-MiniLM-L6-v2: pooling and length as its directory says; cosine times 20."""
    path = _path("sentence-transformers/all-MiniLM-L6-v2")
    return EncoderConfig(
        query_path=path,
        passage_path=path,
        pooling="",
        max_passage_tokens=0,
        temperature=0.05,
    )


def _path(model_id: str) -> str:
    return f"{os.environ.get('RADIT_MODELS', 'models')}/{model_id}"


_VARIANTS = {
    "dragon_plus": dragon_plus,
    "contriever": contriever,
    "e5": e5,
    "dpr": dpr,
    "minilm": minilm,
}
