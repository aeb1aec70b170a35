from launch import run_pipeline
from radit_jax.config import Config


def _names(config):
    return [
        (stage.__name__.rpartition(".")[2], overrides)
        for stage, overrides in run_pipeline.plan(config)
    ]


def test_embeddings_run_every_stage():
    assert run_pipeline.plan(Config()) == run_pipeline.PLAN


def test_search_by_words_has_no_towers():
    config = Config()
    config.retrieve.kind = "bm25"
    steps = _names(config)
    names = [name for name, _ in steps]
    assert names == [
        "chunk_corpus",
        "build_index",
        "retrieve",
        "build_examples",
        "finetune_lm",
        "build_examples",
        "finetune_lm",
        "predict",
        "predict",
        "predict",
        "evaluate",
    ]
    answered = {one["predict.lm"]: one["predict.retrievers"] for _, one in steps[7:10]}
    assert answered == {"base": ("none", "base"), "it": ("base",), "ra_it": ("base",)}
