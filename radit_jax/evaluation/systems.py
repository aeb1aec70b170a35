"""The six systems, and the pairs of them that differ in one thing."""

import dataclasses

LMS = ("base", "it", "ra_it")
TOWERS = ("base", "tuned")  # query towers

System = tuple[str, str]  # (LM, retriever)

SYSTEM_NAMES: dict[System, str] = {
    ("base", "none"): "LM alone",
    ("base", "base"): "REPLUG",
    ("it", "base"): "IT + retriever",
    ("ra_it", "base"): "RA-IT",
    ("base", "tuned"): "R-ft only",
    ("ra_it", "tuned"): "RA-DIT",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems that differ in one thing, and what that thing is."""

    with_it: System
    without_it: System
    subject: str  # of a sentence: "… raised exact match from … to …"
    isolates: str  # beside the difference in the table

    @property
    def what(self) -> str:
        """The name of the difference in `results.json`."""
        return f"{SYSTEM_NAMES[self.with_it]} minus {SYSTEM_NAMES[self.without_it]}"


COMPARISONS = (
    Comparison(
        ("ra_it", "tuned"),
        ("base", "base"),
        "Fine-tuning the LM and the retriever",
        "both fine-tunings together",
    ),
    Comparison(
        ("ra_it", "base"),
        ("base", "base"),
        "Fine-tuning the LM",
        "the LM’s fine-tuning as a whole",
    ),
    Comparison(
        ("it", "base"),
        ("base", "base"),
        "Plain instruction tuning",
        "learning to answer briefly: the same questions, no passages",
    ),
    Comparison(
        ("ra_it", "base"),
        ("it", "base"),
        "Training with passages in the prompt",
        "learning to read: passages in the training prompts",
    ),
    Comparison(
        ("ra_it", "tuned"),
        ("ra_it", "base"),
        "Fine-tuning the retriever under the tuned LM",
        "the retriever’s fine-tuning, under the tuned LM",
    ),
    Comparison(
        ("base", "tuned"),
        ("base", "base"),
        "Fine-tuning the retriever under the untuned LM",
        "the retriever’s fine-tuning, under the untuned LM",
    ),
    Comparison(
        ("base", "base"),
        ("base", "none"),
        "Retrieval",
        "retrieval itself, before any fine-tuning",
    ),
)
