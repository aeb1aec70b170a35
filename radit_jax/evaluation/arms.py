"""The arms of the study of LM-supervised retrieval: runs that differ in one thing."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from radit_jax.config import Config

# RA-DIT's own choices, where None and "" are the loss's own: an arm is the same
# whatever the config says of these. Data, steps and rates are the config's.
_PAPER = {
    "loss": "lsr",
    "score": "",
    "lm_temperature": None,
    "retriever_temperature": None,
    "direction": "forward",
    "teacher": "lm",
    "train": "query",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """One run of `finetune_retriever`."""

    name: str  # and of its folder
    what: str  # differs from RA-DIT's choices
    overrides: Mapping[str, Any]  # of `config.retriever_training`
    is_control: bool = False  # no method: it tells signal from noise

    def config(self, config: Config) -> Config:
        """A copy of `config` for this arm."""
        training = dataclasses.replace(
            config.retriever_training, **(_PAPER | dict(self.overrides))
        )
        return dataclasses.replace(config, retriever_training=training)


ARMS = (
    Arm("lsr", "RA-DIT: KL(p_R ‖ p_LSR), mean log-likelihood, τ = 0.01", {}),
    Arm(
        "lsr_log_likelihood",
        "score: log-likelihood of the whole answer",
        {"score": "log_likelihood"},
    ),
    Arm("lsr_likelihood", "score: likelihood", {"score": "likelihood"}),
    Arm("lsr_reverse", "KL(p_LSR ‖ p_R)", {"direction": "reverse"}),
    Arm("lsr_tau_0.001", "τ = 0.001", {"lm_temperature": 0.001}),
    Arm("lsr_tau_0.1", "τ = 0.1", {"lm_temperature": 0.1}),
    Arm("lsr_tau_1", "τ = 1", {"lm_temperature": 1.0}),
    Arm(
        "replug_lsr",
        "REPLUG: likelihood, both temperatures 0.1",
        {"loss": "replug_lsr"},
    ),
    Arm("pdist", "Atlas: KL(target ‖ p_R), scores over √d", {"loss": "pdist"}),
    Arm("emdr2", "EMDR²: likelihood of the answer over all chunks", {"loss": "emdr2"}),
    Arm("corpus_only", "corpus queries alone", {"corpus_weight": 1.0}),
    Arm("instructions_only", "questions alone", {"corpus_weight": 0.0}),
    Arm(
        "shuffled",
        "control: LM scores of other chunks of the question; must not help",
        {"teacher": "shuffled"},
        is_control=True,
    ),
    Arm(
        "gold",
        "control: the gold passages as scores; an upper bound",
        {"teacher": "gold"},
        is_control=True,
    ),
    Arm("both_towers", "the passage tower learns too", {"train": "both"}),
)
