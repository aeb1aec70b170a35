"""Every question as compact JSON, for the browser in the report.

Texts that repeat, such as passages and answers, are stored once and named by their
place. Passages are cut where there are so many that the page would grow too large.
"""

import json
from collections.abc import Sequence
from typing import Any

from radit_jax.evaluation.views import LM_LABELS

MOST_BYTES = 4_500_000  # of the JSON, so that the whole page stays under 5 MB
_SHORTEST = 60  # characters of a passage that are worth showing


class _Texts:
    """Distinct texts, in the order of their first use."""

    def __init__(self):
        self.places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


def encode(asked: Sequence[dict], most_bytes: int = MOST_BYTES) -> str:
    """The JSON of as many of the questions as fit, safe inside a `<script>`.

    Args:
      asked: as `shown.questions` makes them; all by the same systems.
      most_bytes: of the JSON in UTF-8.

    Returns:
      An object with `systems` and `lms`, their names; `texts` and `passages`
      ([title, text]), which `items` name by place; `num_asked` and `cut`, the
      characters that passages were cut to (0: whole).
    """
    kept = len(asked)
    while True:
        document, passages = _document(asked[:kept])
        least = _size(document | {"passages": _cut_all(passages, _SHORTEST)})
        if least <= most_bytes or kept < 2:
            break
        kept = min(kept - 1, int(kept * 0.97 * most_bytes / least))
    document |= {"num_asked": len(asked), "passages": _cut_all(passages, None)}
    if _size(document) > most_bytes:
        room = most_bytes - _size(document | {"passages": []}) - len("0000")
        cut = _longest_cut(passages, room)
        document |= {"passages": _cut_all(passages, cut), "cut": cut}
    return _dump(document)


def _longest_cut(passages: Sequence[tuple], room: int) -> int:
    """Characters of a passage with which all of them take at most `room` bytes."""
    whole = _size(_cut_all(passages, None))
    lengths = [len(text) for _, text, _ in passages]
    cut = max(lengths)
    # By how much a cut shortens them, were all characters of equal size; then down.
    while cut > _SHORTEST and whole * _share(lengths, cut) > room:
        cut = max(int(cut * 0.9), _SHORTEST)
    while cut > _SHORTEST and _size(_cut_all(passages, cut)) > room:
        cut = max(int(cut * 0.9), _SHORTEST)
    return cut


def _share(lengths: Sequence[int], cut: int) -> float:
    return sum(min(length, cut) for length in lengths) / sum(lengths)


def _cut_all(passages: Sequence[tuple], length: int | None) -> list[list]:
    return [[title, _cut(text, start, length)] for title, text, start in passages]


def _size(value: Any) -> int:
    return len(_dump(value).encode("utf-8", "replace"))


def _dump(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # So that no text can end the script element, or open a comment in it.
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _document(asked: Sequence[dict]) -> tuple[dict[str, Any], list[tuple]]:
    """All but the passages; and these, as (title's place, text, answer's start)."""
    texts = _Texts()
    answered = (passage["answers"] for one in asked for passage in one["passages"])
    lms = list(dict.fromkeys(lm for answers in answered for lm in answers))
    passages: dict[tuple[str, str], tuple] = {}
    places: dict[tuple[str, str], int] = {}
    items = []
    for one in asked:
        found = []
        for passage in one["passages"]:
            key = passage["document_id"], passage["text"]
            if key not in places:
                places[key] = len(places)
                title = texts.place(passage["title"] or passage["document_id"])
                start = _answer_start(passage["text"], one["answers"])
                passages[key] = (title, passage["text"], start)
            found.append(_passage(passage, places[key], lms, texts))
        items.append(_item(one, found, texts))
    document = {
        "systems": [s["name"] for s in asked[0]["systems"]] if asked else [],
        "lms": [LM_LABELS.get(lm, lm) for lm in lms],
        "texts": list(texts.places),
        "items": items,
        "cut": 0,
    }
    return document, list(passages.values())


def _item(one: dict, passages: list, texts: _Texts) -> list:
    return [
        one["question"],
        [texts.place(answer) for answer in one["answers"]],
        [
            [
                int(system["correct"]),
                texts.place(system["answer"]),
                _rounded(system["probability"]),
                [
                    [texts.place(text), _rounded(p)]
                    for text, p in system.get("candidates", ())
                ],
            ]
            for system in one["systems"]
        ],
        passages,
    ]


def _passage(passage: dict, place: int, lms: Sequence[str], texts: _Texts) -> list:
    answers = passage["answers"]
    return [
        place,
        int(passage["is_positive"]),
        *(_rounded(passage.get(name)) for name in ("p_r_base", "p_r_tuned", "p_lsr")),
        [texts.place(answers[lm]) if lm in answers else -1 for lm in lms],
    ]


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else float(f"{probability:.3g}")


def _answer_start(text: str, answers: Sequence[str]) -> int:
    """Where the first accepted answer stands in the text; 0 where none does."""
    lower = text.lower()
    found = [lower.find(one.strip().lower()) for one in answers if one.strip()]
    return min((start for start in found if start >= 0), default=0)


def _cut(text: str, answer_start: int, length: int | None) -> str:
    """The text, or a part of it around the answer in it."""
    if length is None or len(text) <= length:
        return text
    start = max(0, min(answer_start - length // 3, len(text) - length))
    end = start + length
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
