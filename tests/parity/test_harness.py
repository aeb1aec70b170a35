"""SmolLM2 in lm-evaluation-harness: ours and its own backend; `-m real_models`."""

import json

import numpy as np
import pytest

lm_eval = pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from radit_jax.corpus import quickstart  # noqa: E402
from radit_jax.evaluation.lm_eval_model import HarnessLM  # noqa: E402
from radit_jax.models import huggingface, pretrained  # noqa: E402

from .test_real_models import GGUF, PROMPT, TEXTS, fetched  # noqa: E402

pytestmark = [
    pytest.mark.real_models,
    # The harness' and transformers' own; none of it is ours to fix.
    pytest.mark.filterwarnings("default"),
]
SHOTS = "Q: What is the capital of France?\nA: Paris\n\nQ: And of Italy?\nA:"
PAIRS = [
    (SHOTS, " Rome"),
    (SHOTS, " Milan, I think"),
    (PROMPT[: -len(" 1911")], " 1911"),
    ("A:", " naïve 日本語 👩‍🚀"),
    ("", "The capital of France is Paris."),
    ("é", " e\u0301"),
]
TASK = """
task: capitals
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}\\nA:"
doc_to_target: {target}
{options}
metric_list:
  - metric: {metric}
"""
RECORDS = [
    {"question": f"Q: What is the capital of {a}?", "options": [b, c], "gold": 0}
    for a, b, c in (
        *(("France", "Paris", "Lyon"), ("Italy", "Rome", "Milan")),
        *(("Spain", "Madrid", "Seville"), ("Peru", "Lima", "Cusco")),
    )
]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Our model and the harness' own, on the same weights."""
    folder = tmp_path_factory.mktemp("lm") / "model"
    models = pretrained.load_lm(fetched(quickstart.LANGUAGE_MODEL) / GGUF)
    huggingface.save_decoder(models[0], folder, models[1])
    ours = HarnessLM(*models, batch_size=4, batch_tokens=512)
    theirs = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4)
    return ours, theirs


def ask(both, kind, arguments):
    requests = [Instance(kind, {}, one, i) for i, one in enumerate(arguments)]
    return [getattr(lm, kind)(requests) for lm in both]


def test_loglikelihood(both):
    found, expected = ask(both, "loglikelihood", PAIRS)
    values = [[value for value, _ in some] for some in (found, expected)]
    np.testing.assert_allclose(*values, atol=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_loglikelihood_rolling(both):
    texts = [(text,) for text in TEXTS]
    found, expected = ask(both, "loglikelihood_rolling", texts)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_generate_until(both):
    options = {"until": ["\n", " and"], "max_gen_toks": 16, "do_sample": False}
    contexts = [SHOTS, PROMPT[: -len(" 1911")], "Once upon a time", "naïve 日本語"]
    found, expected = ask(both, "generate_until", [(one, options) for one in contexts])
    assert found == expected
    assert len(set(found)) > 2


@pytest.mark.parametrize(
    ("kind", "target", "options", "metric"),
    [
        ("multiple_choice", "gold", "doc_to_choice: options", "acc"),
        ("generate_until", '"{{options[0]}}"', "", "exact_match"),
    ],
)
def test_local_task_files(both, tmp_path, monkeypatch, kind, target, options, metric):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "capitals.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    text = TASK.format(
        file=file, kind=kind, target=target, options=options, metric=metric
    )
    if kind == "generate_until":
        text += "generation_kwargs:\n  until: ['\\n']\n  max_gen_toks: 8\n"
    (tmp_path / "capitals.yaml").write_text(text)
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    ours, theirs = (
        lm_eval.simple_evaluate(
            lm, tasks=["capitals"], task_manager=manager, bootstrap_iters=0
        )
        for lm in both
    )
    name = f"{metric},none"
    assert ours["results"]["capitals"][name] == theirs["results"]["capitals"][name]
    said = [
        [sample["filtered_resps"] for sample in one["samples"]["capitals"]]
        for one in (ours, theirs)
    ]
    if kind == "generate_until":
        assert said[0] == said[1]
