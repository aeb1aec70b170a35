"""From questions and chunks to examples: what is rendered, counted and left out."""

import pytest

from radit_jax.corpus import store
from radit_jax.instruct import mixture, summary
from radit_jax.instruct.examples import ExampleStream, QuestionSet
from radit_jax.instruct.mixture import Portion
from radit_jax.instruct.rendering import Renderer
from radit_jax.testing import toy
from radit_jax.types import Chunk, Instruction, Retrieved

CHUNKS = ("The river of Arvon is Foss .", "The king of Galen is Dreva .", "Tarn .")


@pytest.fixture(scope="module")
def tokenizer():
    return toy.lm_tokenizer([*CHUNKS, "What is the river of Arvon ?"])


@pytest.fixture
def chunks(tmp_path):
    path = tmp_path / "chunks"
    store.write_chunks(path, (Chunk(i, "d", text) for i, text in enumerate(CHUNKS)))
    return store.ChunkStore(path)


def asked(name="q1", chunk_ids=(1, 0, 2), **fields):
    question = Instruction(name, "What is the river of Arvon ?", ("Foss",), **fields)
    return Retrieved(question, chunk_ids, tuple(1.0 for _ in chunk_ids))


def text_of(tokenizer, example):
    return tokenizer.decode(example.tokens)


def stream(chunks, tokenizer, items, max_tokens=64, num_chunks=2, samples=0, text=0):
    sets = {"s": QuestionSet(items, num_chunks)}
    size = sets["s"].size
    portions = [Portion("s", *size, 1.0, size[1])]
    if text:
        portions.append(Portion(mixture.TEXT, 3, 3, 0.5, text))
    renderer = Renderer(tokenizer, max_tokens, seed=0)
    return ExampleStream(sets, portions, chunks, renderer, samples)


def test_each_chunk_is_an_example_and_a_gold_context_is_one():
    items = [asked(), asked("q2", (), context="gold"), asked("q3", (2,))]
    found = QuestionSet([*items, asked("q4", (5, 6), context="gold")], 2)
    assert found.size == (4, 5)
    names = [(one.id, chunk) for one, chunk in (found[i] for i in range(5))]
    assert names == [("q1", 1), ("q1", 0), ("q2", None), ("q3", 2), ("q4", None)]
    assert QuestionSet(items, 0).size == (3, 3)
    assert QuestionSet(items, 0)[0] == (items[0].instruction, None)


def test_what_is_read_and_what_is_learned(chunks, tokenizer):
    examples = {e.id: e for e in stream(chunks, tokenizer, [asked()])}
    assert sorted(examples) == ["q1/0", "q1/1"]
    for name, example in examples.items():
        passage = CHUNKS[int(name[-1])]
        text = text_of(tokenizer, example)
        assert text.startswith(f"Background: {passage}\n\n")
        assert text.endswith(" Foss")
        learned = example.tokens[example.num_prompt_tokens :]
        assert tokenizer.decode(learned) == " Foss"
        assert (example.tokens[0], learned[-1]) == (0, 1)  # bos, eos


def test_plain_instruction_tuning_keeps_a_gold_context(chunks, tokenizer):
    items = [asked(), asked("q2", (), context="Foss flows .", category="dialogue")]
    found = list(stream(chunks, tokenizer, items, num_chunks=0))
    texts = {e.id: text_of(tokenizer, e) for e in found}
    assert "Background" not in texts["q1/None"]
    assert texts["q2/None"] == (
        "Background: Foss flows .\n\nQ: What is the river of Arvon ? A: Foss"
    )


def test_corpus_text_is_learned_from_its_first_token_on(chunks, tokenizer):
    found = list(stream(chunks, tokenizer, [asked()], text=3))
    texts = {e.id: e for e in found if e.id.startswith("text:")}
    assert sorted(texts) == ["text:0", "text:1", "text:2"]
    example = texts["text:2"]
    assert text_of(tokenizer, example) == "Tarn ."
    assert (example.tokens[0], example.tokens[-1]) == (0, 1)
    assert example.num_prompt_tokens == 1


def test_a_long_text_is_cut_and_counted(chunks, tokenizer):
    built = stream(chunks, tokenizer, [asked()], max_tokens=30, text=3)
    list(built)
    whole = len(tokenizer.encode(CHUNKS[0])) + 2
    short = Renderer(tokenizer, whole - 1, 0).text(Chunk(0, "d", CHUNKS[0]))
    assert short.background_cut
    assert len(short.example.tokens) == whole - 1
    assert (
        not Renderer(tokenizer, whole, 0).text(Chunk(0, "d", CHUNKS[0])).background_cut
    )


def test_everything_is_counted(chunks, tokenizer, caplog):
    history = ("What is the king of Galen ?", "Dreva")
    items = [
        asked(),
        asked("q2", (), category="dialogue", history=3 * history),
        asked("q3", (), context="What is " * 100, category="reading_comprehension"),
        Retrieved(Instruction("q4", "What is " * 90, ("Foss",)), (0,), (1.0,)),
    ]
    built = stream(chunks, tokenizer, items, max_tokens=50, text=2)
    found = list(built)
    line, text = built.records()
    assert (line["num_questions"], line["num_examples"], line["num_drawn"]) == (4, 5, 5)
    assert (line["examples"], line["too_long"]) == (4, 1)
    assert line["truncated_backgrounds"] == 1
    assert line["turns_dropped"] > 0
    assert text["examples"] == 2
    totals = built.totals()
    assert totals["examples"] == len(found) == 6
    assert totals["tokens"] == sum(len(e.tokens) for e in found)
    prompts = sum(e.num_prompt_tokens for e in found)
    assert totals["target_tokens"] == totals["tokens"] - prompts
    assert all(len(e.tokens) <= 50 for e in found)
    assert "1 example(s) were left out" in caplog.text
    assert "example 'q4/0' needs" in caplog.text


def test_an_example_is_a_function_of_its_id_and_the_seed(chunks, tokenizer):
    items = [asked(f"q{i}") for i in range(9)]
    one = {e.id: e.tokens for e in stream(chunks, tokenizer, items)}
    other = {e.id: e.tokens for e in stream(chunks, tokenizer, items[::-1][:4])}
    assert other == {name: one[name] for name in other}
    assert len({tuple(tokens) for tokens in one.values()}) > 2  # markers differ


def test_the_summary_shows_tables_and_samples(chunks, tokenizer):
    items = [asked(f"q{i}") for i in range(9)]
    built = stream(chunks, tokenizer, items, samples=2, text=3)
    list(built)
    assert {kind: len(kept) for kind, kept in built.samples.items()} == {
        "open_qa": 2,
        "text": 2,
    }
    name, rendered = built.samples["open_qa"][0]
    record = summary.sample(name, rendered, tokenizer)
    assert record["prompt"].startswith("Background: ")
    assert (record["answer"], record["set"], record["kind"]) == (
        " Foss",
        "s",
        "open_qa",
    )
    table = summary.table(built.records())
    assert table.splitlines()[1].split()[:5] == ["s", "9", "18", "100.00%", "18"]
    page = summary.markdown([record], {"D_L": table})
    assert "## Kind: open_qa" in page
    assert "    Background: " in page
    assert "    " + table.splitlines()[1] in page
    assert summary.table([]) == "(none)"
