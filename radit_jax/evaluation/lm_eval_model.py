"""Our language models in EleutherAI's lm-evaluation-harness, with or without chunks.

The harness' own Hugging Face backend is the measure: contexts are tokenised by the
published tokenizer as a whole, too long ones lose their beginning, and an answer ends
at a stop string or eos. With a retriever every request is answered as RA-DIT does
(Eq. 2): the chunk stands before the last block of the context, where few-shot prompts
have the question, and what the LM says is mixed over the chunks.

`launch.lm_eval` gives it to the harness under the name "radit_jax".
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float
from lm_eval import utils as lm_eval_utils
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import model_registry

from radit_jax.evaluation import harness_requests
from radit_jax.evaluation.harness_generation import Generator, Row
from radit_jax.inference.decoding import Decoding
from radit_jax.inference.ensemble import answer_ensemble
from radit_jax.inference.questions import Question, Retrieval
from radit_jax.inference.scorer import Scorer
from radit_jax.models.decoder import Decoder
from radit_jax.text.tokenizer import LMTokenizer

Retrieve = Callable[[Sequence[str]], list[list[tuple[str, float]]]]


class HarnessLM(TemplateLM):
    """A decoder that answers the harness' requests.

    Args:
      decoder: the language model.
      tokenizer: its tokenizer.
      name: shown in results.
      batch_tokens: that are scored together on a device.
      batch_size: prompts that are answered together.
      max_length: tokens of a context with its continuation, but one; 0: as many as
        the model has positions. Longer contexts lose their beginning.
      max_gen_toks: generated where a task sets no limit.
      check_greedy: whether to find out if a continuation is the greedy one, which
        costs a generation. False saves it, and says no where it is not plain from the
        scores; multiple choice does not look at it.
      retrieve: for each query its chunks' texts with log p_R, best first; None: none.
      mesh: see `Sampler`.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: LMTokenizer,
        *,
        name: str = "radit_jax",
        batch_tokens: int = 2048,
        batch_size: int = 16,
        max_length: int = 0,
        max_gen_toks: int = 256,
        check_greedy: bool = True,
        retrieve: Retrieve | None = None,
        mesh: Mesh | None = None,
    ):
        super().__init__()
        self.batch_size = batch_size
        self.max_length = max_length or decoder.config.max_positions - 1
        self.max_gen_toks = max_gen_toks
        self.tokenizer = harness_requests.published(tokenizer)
        self._name, self._segments = name, tokenizer
        self._batch_tokens, self._check_greedy = batch_tokens, check_greedy
        self._retrieve = retrieve
        self._scorer = Scorer(decoder, mesh)
        self._generator = Generator(
            decoder, tokenizer, self.tokenizer, batch_size=batch_size, mesh=mesh
        )

    @property
    def eot_token_id(self) -> int:
        """Ends a text."""
        return self._segments.eos_id

    @property
    def prefix_token_id(self) -> int:
        """Stands where a context is empty."""
        bos_id = self._segments.bos_id
        return self.eot_token_id if bos_id is None else bos_id

    @property
    def tokenizer_name(self) -> str:
        """Tells caches of requests apart."""
        return self._name.replace("/", "__")

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation in the tokenizer's own form."""
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Ids as published, bos where the tokenizer puts it, and never twice."""
        options = {}
        if add_special_tokens is not None:
            options["add_special_tokens"] = add_special_tokens
        elif string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            options["add_special_tokens"] = False
        return self.tokenizer.encode(string, **options)

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """(log p(continuation | context) in nats, is it the greedy one) of each.

        With chunks: the mixture's log p, and whether the continuation is the greedy
        one after the chunk under which it is likeliest, p_R included.
        """
        pairs = [request.args for request in requests]
        ways = self._augmented([context for context, _ in pairs])
        rows = [
            self._row(context, continuation)
            for (_, continuation), found in zip(pairs, ways, strict=True)
            for context, _ in found
        ]
        scored = iter(zip(*self._score(rows), strict=True))
        answers = []
        for pair, found in zip(pairs, ways, strict=True):
            joint, greedy = [], []
            for _, log_p_r in found:
                log_likelihood, is_greedy = next(scored)
                joint.append(log_likelihood + log_p_r)
                greedy.append(is_greedy)
            best = int(np.argmax(joint))
            answers.append((float(np.logaddexp.reduce(joint)), greedy[best]))
            self.cache_hook.add_partial("loglikelihood", pair, answers[-1])
        return answers

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """log p of whole texts in nats, window by window; no chunks are retrieved."""
        rows, counts = [], []
        for (text,) in (request.args for request in requests):
            windows = lm_eval_utils.get_rolling_token_windows(
                self.tok_encode(text), self.prefix_token_id, self.max_length, 1
            )
            disjoint = [lm_eval_utils.make_disjoint_window(one) for one in windows]
            rows += [Row(*one) for one in disjoint]
            counts.append(len(disjoint))
        scores = iter(self._log_likelihood(rows))
        totals = []
        for request, count in zip(requests, counts, strict=True):
            totals.append(float(sum(next(scores).sum() for _ in range(count))))
            self.cache_hook.add_partial(
                "loglikelihood_rolling", request.args, totals[-1]
            )
        return totals

    def generate_until(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[str]:
        """Each context's continuation, up to a stop string.

        With chunks: the likeliest of the chunks' answers, without outer spaces.
        """
        alike: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            alike.setdefault(repr(request.args[1]), []).append(i)
        texts = [""] * len(requests)
        for places in alike.values():
            decoding = self._decoding(requests[places[0]].args[1])
            contexts = [requests[i].args[0] for i in places]
            if self._retrieve is None:
                prompts = [self._prompt(context, decoding) for context in contexts]
                found = self._generator.texts(prompts, decoding)
            else:
                found = self._ensemble(contexts, decoding)
            for i, text in zip(places, found, strict=True):
                texts[i] = text
                self.cache_hook.add_partial("generate_until", requests[i].args, text)
        return texts

    def _loglikelihood_tokens(self, requests, **kwargs):
        """What the base class would call; `loglikelihood` here does not."""
        rows = [Row(prompt, output) for _, prompt, output in requests]
        return list(zip(*self._score([*map(self._cut, rows)]), strict=True))

    def _augmented(self, contexts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Each context with each of its chunks and log p_R; just itself without any."""
        ways = [[(context, 0.0)] for context in contexts]
        asked = [i for i, context in enumerate(contexts) if context.strip()]
        if self._retrieve is None or not asked:
            return ways
        queries = [harness_requests.asked_of(contexts[i]) for i in asked]
        # The options of a question have one context: it is looked up once.
        found = dict.fromkeys(queries)
        found = dict(zip(found, self._retrieve(list(found)), strict=True))
        for i, query in zip(asked, queries, strict=True):
            ways[i] = [
                (harness_requests.with_background(contexts[i], passage), log_p_r)
                for passage, log_p_r in found[query]
            ]
        return ways

    def _row(self, context: str, continuation: str) -> Row:
        """Token ids as the harness' base class makes them."""
        if context:
            prompt, output = self._encode_pair(context, continuation)
        else:
            output = self.tok_encode(continuation, add_special_tokens=False)
            prompt = [self.prefix_token_id]
            if output[:1] == prompt:
                output = output[1:]
        if not output or len(output) > self.max_length:
            raise ValueError(
                f"the continuation {continuation!r:.60} has {len(output)} tokens; it "
                f"needs at least one, and no more than max_length={self.max_length}."
            )
        return self._cut(Row(prompt, output))

    def _cut(self, row: Row) -> Row:
        room = self.max_length + 1 - len(row.output)
        return Row(row.prompt[-room:], row.output)

    def _log_likelihood(self, rows: Sequence[Row]) -> list[Float[np.ndarray, "_t"]]:
        if not rows:
            return []
        prompts = [row.prompt for row in rows]
        outputs = [row.output for row in rows]
        shared = [len(prompt) for prompt in prompts]
        return self._scorer.score(prompts, outputs, self._batch_tokens, shared)

    def _score(self, rows: Sequence[Row]) -> tuple[list[float], list[bool]]:
        by_token = self._log_likelihood(rows)
        # A token of more than half the probability is the likeliest.
        greedy = [bool((scores > np.log(0.5)).all()) for scores in by_token]
        unclear = [i for i, known in enumerate(greedy) if not known]
        if self._check_greedy:
            found = self._generator.are_greedy([rows[i] for i in unclear])
            for i, is_greedy in zip(unclear, found, strict=True):
                greedy[i] = is_greedy
        return [float(scores.sum()) for scores in by_token], greedy

    def _prompt(self, context: str, decoding: Decoding) -> list[int]:
        room = self.max_length - decoding.max_tokens
        if room < 1:
            raise ValueError(
                f"{decoding.max_tokens} tokens to generate leave no room for a "
                f"context within max_length={self.max_length}; lower max_gen_toks."
            )
        return (self.tok_encode(context) or [self.prefix_token_id])[-room:]

    def _ensemble(self, contexts: Sequence[str], decoding: Decoding) -> list[str]:
        questions = []
        for found in self._augmented(contexts):
            prompts = [self._prompt(context, decoding) for context, _ in found]
            log_p_r = tuple(log_p for _, log_p in found)
            retrieval = Retrieval(tuple(range(len(prompts))), log_p_r)
            questions.append(Question(prompts, {"": retrieval}))
        answers = answer_ensemble(
            self._generator.sampler,
            self._segments,
            questions,
            self.batch_size,
            decoding,
        )
        return [answer[""].text for answer in answers]

    def _decoding(self, options: dict[str, Any]) -> Decoding:
        """How a request's generation options want its answer."""
        asked = harness_requests.generation(options, self.max_gen_toks)
        return Decoding(
            max_tokens=asked.max_tokens,
            stops=self._generator.stops(asked.until),
            sampling=asked.sampling,
        )


def register(open_model: Callable[[dict[str, Any]], HarnessLM]) -> None:
    """Makes "radit_jax" a model of the harness, opened from `--model_args`."""

    class Opened(HarnessLM):
        """What `--model radit_jax` is."""

        @classmethod
        def create_from_arg_obj(cls, arg_dict, additional_config=None):
            """As of the harness' LM; its batch size is the prompts answered together.

            Its device is left out: JAX decides.
            """
            given = (additional_config or {}).get("batch_size")
            batch = {"batch_size": int(given)} if str(given).isdigit() else {}
            return open_model({**batch, **arg_dict})

        @classmethod
        def create_from_arg_string(cls, arg_string, additional_config=None):
            """Likewise, from "name=value,name=value"."""
            arguments = lm_eval_utils.simple_parse_args_string(arg_string)
            return cls.create_from_arg_obj(arguments, additional_config)

    model_registry.register("radit_jax", target=Opened)
