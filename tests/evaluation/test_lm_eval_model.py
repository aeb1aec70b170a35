"""Our model in lm-evaluation-harness, against the harness' own Hugging Face backend."""

import json
import re
import warnings

import numpy as np
import pytest

lm_eval = pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from launch import lm_eval as launcher  # noqa: E402
from radit_jax.evaluation.lm_eval_model import HarnessLM  # noqa: E402
from radit_jax.models import huggingface, pretrained  # noqa: E402
from radit_jax.testing import toy  # noqa: E402
from radit_jax.text.templates import background_block  # noqa: E402

TEXTS = [
    "The river of Corvia is Pell .",
    "What is the river of Corvia ?",
    "Question: Answer: Rusk Silt Tarn",
]
SHOTS = "Q: What is the king of Arvon ?\nA: Adar\n\n"
PAIRS = [
    ("Q: What is the river of Corvia ?\nA:", " Pell"),
    ("Q: What is the river of Corvia ?\nA:", " Rusk and Silt"),
    (SHOTS + "Q: What is it ?\nA: ", "Tarn"),  # the space goes to the continuation
    ("", "The river of Corvia"),
    ("é 👩‍🚀 מי", " e\u0301"),
    ("The river of Corvia is Pell . " * 30, " Pell Rusk"),  # loses its beginning
]
LENGTH = 95


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "model"
    tokenizer = toy.lm_tokenizer(TEXTS)
    decoder = toy.decoder(tokenizer.vocab_size, max_positions=96)
    # Far from uniform, so that greedy choices do not hang on rounding.
    decoder.embedding[...] = 30 * decoder.embedding[...]
    huggingface.save_decoder(decoder, path, tokenizer)
    return path


@pytest.fixture(scope="module")
def ours(folder):
    return HarnessLM(
        *pretrained.load_lm(folder), batch_tokens=256, batch_size=4, max_gen_toks=12
    )


@pytest.fixture(scope="module")
def theirs(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return HFLM(
            pretrained=str(folder),
            device="cpu",
            dtype="float32",
            batch_size=4,
            max_length=LENGTH,
        )


def requests(kind, arguments):
    return [Instance(kind, {}, one, i) for i, one in enumerate(arguments)]


def both(ours, theirs, kind, arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = getattr(theirs, kind)(requests(kind, arguments))
    return getattr(ours, kind)(requests(kind, arguments)), expected


def test_loglikelihood(ours, theirs):
    found, expected = both(ours, theirs, "loglikelihood", PAIRS)
    np.testing.assert_allclose(
        [value for value, _ in found], [value for value, _ in expected], atol=1e-3
    )
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_greedy_continuations_are_known(ours, theirs):
    options = {"until": [], "max_gen_toks": 12}
    contexts = [context for context, _ in PAIRS if context]
    arguments = [(context, options) for context in contexts]
    texts = ours.generate_until(requests("generate_until", arguments))
    # A random model says parts of letters too, which no text can be read back from.
    said = [re.match(r"[\x20-\x7e]*", text)[0] for text in texts]
    pairs = [pair for pair in zip(contexts, said, strict=True) if pair[1]]
    pairs += [(context, text[:-1] + "#") for context, text in pairs]
    found, expected = both(ours, theirs, "loglikelihood", pairs)
    greedy = [is_greedy for _, is_greedy in found]
    assert greedy == [is_greedy for _, is_greedy in expected]
    assert any(greedy) and not all(greedy)


def test_loglikelihood_rolling(ours, theirs):
    texts = [("The river of Corvia is Pell .",), ("Rusk Silt Tarn . " * 40,)]
    found, expected = both(ours, theirs, "loglikelihood_rolling", texts)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found[1] < found[0] < 0


@pytest.mark.parametrize(
    "options",
    [
        {"until": ["\n"], "max_gen_toks": 12},
        {"until": ["ver", " . "], "max_new_tokens": 12, "do_sample": False},
        {"until": "Pell", "temperature": 0.0},
    ],
)
def test_generate_until(ours, theirs, options):
    contexts = [context for context, _ in PAIRS if context]
    theirs_options = {"max_gen_toks": 12, **options}
    arguments = [(context, options) for context in contexts]
    found = ours.generate_until(requests("generate_until", arguments))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = [(context, theirs_options) for context in contexts]
        expected = theirs.generate_until(requests("generate_until", arguments))
    assert found == expected
    assert len(set(found)) > 1


def retrieve(queries):
    """Two chunks a query; the second is thrice as likely as the first."""
    assert all("\n\n" not in query for query in queries)
    chunks = [("Rusk", float(np.log(0.25))), ("Silt . Silt", float(np.log(0.75)))]
    return [chunks for _ in queries]


def test_with_chunks_it_is_the_mixture(ours, folder):
    pairs = [PAIRS[0], (SHOTS + "Q: What is it ?\nA:", " Tarn")]
    mixing = HarnessLM(*pretrained.load_lm(folder), batch_size=4, retrieve=retrieve)
    found = mixing.loglikelihood(requests("loglikelihood", pairs))
    for (context, continuation), (value, _) in zip(pairs, found, strict=True):
        shown, end, asked = context.rpartition("\n\n")
        augmented = [
            (f"{shown}{end}{background_block(text)}{asked}", continuation)
            for text in ("Rusk", "Silt . Silt")
        ]
        each = ours.loglikelihood(requests("loglikelihood", augmented))
        mixed = np.logaddexp(each[0][0] + np.log(0.25), each[1][0] + np.log(0.75))
        assert value == pytest.approx(mixed, abs=1e-4)


def test_with_chunks_it_answers_as_the_ensemble(ours, folder):
    """With all weight on one chunk the answer is that chunk's."""
    mixing = HarnessLM(
        *pretrained.load_lm(folder),
        batch_size=4,
        retrieve=lambda queries: [[("Silt . Silt", 0.0)] for _ in queries],
    )
    options = {"until": ["\n"], "max_gen_toks": 12}
    context = "Q: What is it ?\nA:"
    (found,) = mixing.generate_until(requests("generate_until", [(context, options)]))
    alone = background_block("Silt . Silt") + context
    (expected,) = ours.generate_until(requests("generate_until", [(alone, options)]))
    assert found == expected.strip()


def test_greedy_check_can_be_left_out(folder):
    quick = HarnessLM(*pretrained.load_lm(folder), check_greedy=False)
    found = quick.loglikelihood(requests("loglikelihood", PAIRS[:2]))
    assert [greedy for _, greedy in found] == [False, False]


def test_drawn_answers_differ_by_seedless_temperature(ours):
    options = {"until": ["\n"], "max_gen_toks": 12, "temperature": 5.0}
    arguments = [(context, options) for context, _ in PAIRS[:2]]
    first = ours.generate_until(requests("generate_until", arguments))
    assert first == ours.generate_until(requests("generate_until", arguments))
    greedy = [(context, options | {"do_sample": False}) for context, _ in PAIRS[:2]]
    assert first != ours.generate_until(requests("generate_until", greedy))


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("loglikelihood", ("a", ""), "the continuation '' has 0 tokens"),
        ("generate_until", ("a", {"num_beams": 3}), r"\['num_beams'\] are not known"),
        (
            "generate_until",
            ("a", {"temperature": 1.0, "top_k": 3}),
            r"\['top_k'\] are not known",
        ),
        ("generate_until", ("a", {"max_gen_toks": 95}), "leave no room for a context"),
    ],
)
def test_refuses(ours, kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(ours, kind)(requests(kind, [arguments]))


TASK = """
task: toy_rivers
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_choice: options
doc_to_target: gold
metric_list:
  - metric: acc
  - metric: acc_norm
"""


def test_a_local_task_file_scores_the_same(ours, theirs, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    records = [
        {
            "question": f"What is the {name} of Corvia ?",
            "options": ["Pell", "Rusk Silt", "Tarn"],
            "gold": i % 3,
        }
        for i, name in enumerate(("river", "king", "bird", "dance"))
    ]
    file = tmp_path / "rivers.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "rivers.yaml").write_text(TASK.format(file=file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        results = [
            lm_eval.simple_evaluate(
                model, tasks=["toy_rivers"], task_manager=manager, bootstrap_iters=0
            )["results"]["toy_rivers"]
            for model in (ours, theirs)
        ]
    for metric in ("acc,none", "acc_norm,none"):
        assert results[0][metric] == results[1][metric]


@pytest.mark.parametrize(
    "arguments", [{}, {"pretrained": "model", "workdir": "runs/q"}], ids=["none", "two"]
)
def test_the_launcher_opens_one_model(arguments):
    with pytest.raises(ValueError, match="--model_args has pretrained=.* give one"):
        launcher.open_model(arguments)
