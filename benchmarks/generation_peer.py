"""Answers as one gets them from transformers: `generate`, then scores."""

import copy

import numpy as np
import torch
import transformers

from radit_jax.inference.stops import Stops
from radit_jax.text import templates
from radit_jax.text.answers import first_line
from radit_jax.text.tokenizer import LMTokenizer


class Peer:
    """A model of transformers that answers questions from their chunks."""

    def __init__(self, model: str, dtype: str, num_new: int):
        torch.set_num_threads(2)
        self._lm = transformers.AutoModelForCausalLM.from_pretrained(
            model, dtype=getattr(torch, dtype), attn_implementation="sdpa"
        ).eval()
        self._tokenizer = LMTokenizer.from_directory(model)
        stop = Stops(self._tokenizer, self._lm.config.vocab_size).mask
        stop[self._tokenizer.eos_id] = True
        self._generation = transformers.GenerationConfig(
            max_new_tokens=num_new,
            do_sample=False,
            eos_token_id=np.flatnonzero(stop).tolist(),
            pad_token_id=self._tokenizer.eos_id,
            return_dict_in_generate=True,
            output_logits=True,
        )

    @torch.inference_mode()
    def answer(
        self, part: dict, num_rows: int, keeps_cache: bool, keeps_prefix: bool
    ) -> list[dict]:
        """All questions, in batches of whole ones.

        Args:
          part: prompts, prefix and log_p_r.
          num_rows: prompts a batch.
          keeps_cache: scores answers on the cache that decoding leaves.
          keeps_prefix: copies the prefix' cache to every row instead of reading it.
        """
        prefix = part["prefix"] if keeps_prefix else []
        before = self._prefix_cache(prefix) if prefix else None
        prompts = part["prompts"]
        if part["prefix"] and not keeps_prefix:
            prompts = [[part["prefix"] + p for p in some] for some in prompts]
        order = sorted(range(len(prompts)), key=lambda i: -max(map(len, prompts[i])))
        num = max(1, num_rows // len(prompts[0]))
        found: list[dict] = [{}] * len(prompts)
        for start in range(0, len(order), num):
            group = order[start : start + num]
            rows = [prompt for i in group for prompt in prompts[i]]
            answered = self._batch(rows, len(prompts[0]), prefix, before, keeps_cache)
            for i, (texts, candidates, table) in zip(group, answered, strict=True):
                weighed = table + np.array(part["log_p_r"][i])
                mixed = np.logaddexp.reduce(weighed, axis=1)
                best = int(mixed.argmax())
                found[i] = {
                    "answer": candidates[best],
                    "log_probability": float(mixed[best]),
                    "chunk_answers": texts,
                }
        return found

    def _prefix_cache(self, prefix: list[int]):
        return self._lm(
            torch.tensor([prefix]), use_cache=True, logits_to_keep=1
        ).past_key_values

    def _batch(self, rows, k: int, prefix: list[int], before, keeps_cache: bool):
        """Of each question its texts, its candidates and their scores [a k]."""
        tokens, mask = _left_pad(rows, prefix)
        cache = None
        if before is not None:
            cache = copy.deepcopy(before)
            cache.batch_repeat_interleave(len(rows))
        given = {} if cache is None else {"past_key_values": cache}
        out = self._lm.generate(
            tokens, attention_mask=mask, generation_config=self._generation, **given
        )
        said = out.sequences[:, tokens.shape[1] :].tolist()
        texts = [first_line(self._tokenizer.decode(row)) for row in said]
        wanted = []
        for start in range(0, len(rows), k):
            unique = dict.fromkeys(texts[start : start + k])
            wanted.append([text for text in unique if text] or [""])
        answers = [[self._encode(text) for text in some] for some in wanted]
        if keeps_cache:
            scores = self._on_cache(out, mask, answers, k)
        else:
            scores = self._by_forwards([[*prefix, *row] for row in rows], answers, k)
        for i, candidates in enumerate(wanted):
            table = np.array(scores[i * k : (i + 1) * k]).T
            yield texts[i * k : (i + 1) * k], candidates, table

    def _encode(self, text: str) -> list[int]:
        ids = self._tokenizer.encode(templates.answer_block(text)) if text else []
        return [*ids, self._tokenizer.eos_id]

    def _on_cache(self, out, mask, answers, k: int) -> list[list[float]]:
        """The j-th candidate of every row in one forward, j after j."""
        cache, width = out.past_key_values, mask.shape[1]
        first = out.logits[0].float().log_softmax(-1)
        scores: list[list[float]] = [[] for _ in range(len(mask))]
        for j in range(max(map(len, answers))):
            # Negative: so many are removed.
            cache.crop(width - cache.get_seq_length())
            # Where a question has fewer, its last one again: it is not looked at.
            of_row = [answers[i // k] for i in range(len(mask))]
            given = [some[min(j, len(some) - 1)] for some in of_row]
            longest = max(2, *map(len, given))
            fed = torch.zeros(len(mask), longest - 1, dtype=torch.long)
            targets = torch.zeros(len(mask), longest, dtype=torch.long)
            counts = torch.zeros(len(mask), longest, dtype=torch.bool)
            for row, answer in enumerate(given):
                fed[row, : len(answer) - 1] = torch.tensor(answer[:-1])
                targets[row, : len(answer)] = torch.tensor(answer)
                counts[row, : len(answer)] = True
            seen = torch.cat([mask, torch.ones_like(fed)], dim=1)
            positions = mask.sum(1, keepdim=True) + torch.arange(longest - 1)[None]
            logits = self._lm(
                fed, attention_mask=seen, position_ids=positions, past_key_values=cache
            ).logits.float()
            rest = logits.gather(2, targets[:, 1:, None])[..., 0] - logits.logsumexp(2)
            head = first.gather(1, targets[:, :1])
            total = (torch.cat([head, rest], dim=1) * counts).sum(1).tolist()
            for row, value in enumerate(total):
                if j < len(of_row[row]):
                    scores[row].append(value)
        return scores

    def _by_forwards(self, rows, answers, k: int) -> list[list[float]]:
        """Prompt and answer read again, sorted by length."""
        texts = [
            (i, j, [*row, *answer], len(answer))
            for i, row in enumerate(rows)
            for j, answer in enumerate(answers[i // k])
        ]
        texts.sort(key=lambda text: -len(text[2]))
        scores = [[0.0] * len(answers[i // k]) for i in range(len(rows))]
        for start in range(0, len(texts), 16):
            some = texts[start : start + 16]
            tokens, mask = _left_pad([ids[:-1] for _, _, ids, _ in some], [])
            most = max(num for *_, num in some)
            logits = self._lm(
                tokens,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                logits_to_keep=most,
                use_cache=False,
            ).logits.float()
            for row, (i, j, ids, num) in zip(logits, some, strict=True):
                kept = row[most - num :]
                targets = torch.tensor(ids[-num:])[:, None]
                found = kept.gather(1, targets)[:, 0] - kept.logsumexp(1)
                scores[i][j] = float(found.sum())
        return scores


def _left_pad(rows: list[list[int]], prefix: list[int]):
    """[prefix, padding, row] and which of these count."""
    longest, num = max(map(len, rows)), len(prefix)
    tokens = torch.zeros(len(rows), num + longest, dtype=torch.long)
    mask = torch.zeros(len(rows), num + longest, dtype=torch.long)
    tokens[:, :num], mask[:, :num] = torch.tensor(prefix, dtype=torch.long), 1
    for i, row in enumerate(rows):
        tokens[i, -len(row) :], mask[i, -len(row) :] = torch.tensor(row), 1
    return tokens, mask
