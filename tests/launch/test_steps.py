from launch import steps
from launch.run_pipeline import STAGES
from radit_jax.config import Config


def of_kind(kind):
    config = Config()
    config.retrieve.kind = kind
    return steps.of(config)


def test_embeddings_run_every_stage():
    assert steps.of(Config()) == steps.ALL
    assert {step.stage for step in steps.ALL} == set(STAGES)


def test_search_by_words_has_no_towers():
    found = of_kind("bm25")
    assert [step.stage for step in found] == [
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
    answered = {
        step.overrides["predict.lm"]: step.overrides["predict.retrievers"]
        for step in found[7:10]
    }
    assert answered == {"base": ("none", "base"), "it": ("base",), "ra_it": ("base",)}


def test_a_hybrid_search_builds_two_indexes():
    labels = [step.label for step in of_kind("hybrid")]
    assert labels[1:5] == [
        "embed_corpus",
        "build_index bm25",
        "build_index dense",
        "retrieve base",
    ]
    assert len(labels) == len(steps.ALL) + 1


def test_the_next_step_is_of_the_variant_that_was_just_taken():
    config = Config()
    assert steps.after(config, "retrieve").label == "build_examples ra_it"
    config.examples.kind = "it"
    assert steps.after(config, "build_examples").flags == [
        "--config.lm_training.examples=it"
    ]
    config.retrieve.query_tower = "tuned"
    assert steps.after(config, "retrieve").label == "predict base"
    assert steps.after(config, "evaluate") is None
    config.scoring.lm = "it"  # of the study; the pipeline scores with "base"
    assert steps.after(config, "score_chunks") is None


def test_probes_come_before_the_evaluation_and_only_where_they_are_wanted():
    config = Config()
    config.evaluation.probe_questions = 20
    config.evaluation.probe_tokens = 2048
    config.retrieve.kind = "bm25"
    found = steps.of(config)
    assert found[-1].stage == "evaluate"
    probes = [step for step in found if step.overrides.get("predict.probe")]
    assert [step.label for step in probes] == [
        "predict base passages",
        "predict it passages",
        "predict ra_it passages",
        "predict base depth",
        "predict base concatenate",
        "predict ra_it depth",
        "predict ra_it concatenate",
    ]
    assert probes == list(found[-8:-1])
    changed = probes[4].config(config)
    assert changed.predict.retrievers == ("base",)
    assert changed.predict.max_questions == 20
    assert changed.lm.max_tokens == 2048
    assert probes[3].config(config).lm.max_tokens == Config().lm.max_tokens
