"""The steps from documents to report: which stage in which variant follows which."""

import dataclasses
from typing import Any

from radit_jax.config import Config


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A stage, with the fields that make it write this one of its artifacts."""

    stage: str  # module of radit_jax.stages, and of launch
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """As people read it: `finetune_lm ra_it`."""
        variant = (v for v in self.overrides.values() if v and isinstance(v, str))
        return " ".join([self.stage, *variant])

    @property
    def flags(self) -> list[str]:
        """That make the stage's launcher run this step."""
        return [f"--config.{name}={value}" for name, value in self.overrides.items()]

    def config(self, config: Config) -> Config:
        """A copy of `config` with the overrides."""
        for name, value in self.overrides.items():
            section, field = name.split(".")
            changed = dataclasses.replace(getattr(config, section), **{field: value})
            config = dataclasses.replace(config, **{section: changed})
        return config


# Three LMs ("base", plain instruction tuning "it", RA-DIT's "ra_it") and two query
# towers ("base", "tuned").
ALL = (
    Step("chunk_corpus"),
    Step("embed_corpus"),
    Step("build_index"),
    Step("retrieve", {"retrieve.query_tower": "base"}),
    Step("build_examples", {"examples.kind": "ra_it"}),
    Step("finetune_lm", {"lm_training.examples": "ra_it"}),
    Step("build_examples", {"examples.kind": "it"}),
    Step("finetune_lm", {"lm_training.examples": "it"}),
    Step("score_chunks", {"scoring.lm": "base"}),
    Step("finetune_retriever"),
    Step("retrieve", {"retrieve.query_tower": "tuned"}),
    Step("predict", {"predict.lm": "base", "predict.probe": ""}),
    Step("predict", {"predict.lm": "it", "predict.probe": ""}),
    Step("predict", {"predict.lm": "ra_it", "predict.probe": ""}),
    Step("evaluate"),
)


def of(config: Config) -> tuple[Step, ...]:
    """The steps of this config, with the probes that it asks for before the last."""
    *steps, last = _of_systems(config)
    return (*steps, *_probes(config), last)


def _probes(config: Config) -> list[Step]:
    """What the report asks of the untuned and the tuned LMs, on a few questions."""
    if not config.evaluation.probe_questions:
        return []
    shared = {
        "predict.retrievers": ("base" if config.retrieve.kind == "bm25" else "tuned",),
        "predict.max_questions": config.evaluation.probe_questions,
    }
    deep = {"predict.num_chunks": config.retrieve.num_chunks}
    together = {"predict.num_chunks": config.predict.num_chunks or 1}
    if config.evaluation.probe_tokens:
        together["lm.max_tokens"] = config.evaluation.probe_tokens
    lms = ("base", "it", "ra_it")
    wanted = [(lm, "passages", {"predict.num_chunks": 1}) for lm in lms]
    for lm in ("base", "ra_it"):
        wanted += [(lm, "depth", deep), (lm, "concatenate", together)]
    return [
        Step("predict", {"predict.lm": lm, "predict.probe": probe} | shared | changed)
        for lm, probe, changed in wanted
    ]


def _of_systems(config: Config) -> tuple[Step, ...]:
    """The six systems; search by words alone has no query tower to tune."""
    if config.retrieve.kind == "hybrid":  # builds two indexes
        words = Step("build_index", {"retrieve.kind": "bm25"})
        rows = Step("build_index", {"retrieve.kind": "dense"})
        return (*ALL[:2], words, rows, *ALL[3:])
    if config.retrieve.kind == "dense":
        return ALL
    of_towers = "embed_corpus", "score_chunks", "finetune_retriever"
    systems = {"base": ("none", "base"), "it": ("base",), "ra_it": ("base",)}
    steps = [
        step
        for step in ALL
        if step.stage not in of_towers
        and step.overrides.get("retrieve.query_tower") != "tuned"
    ]
    return tuple(
        Step(
            "predict",
            step.overrides
            | {"predict.retrievers": systems[step.overrides["predict.lm"]]},
        )
        if step.stage == "predict"
        else step
        for step in steps
    )


def after(config: Config, stage: str) -> Step | None:
    """The step that follows the one that this stage takes with this config.

    None after the last one, and where the config makes an artifact that no step does.
    """
    steps = of(config)
    for step, following in zip(steps, (*steps[1:], None), strict=True):
        if step.stage == stage and step.config(config) == config:
            return following
    return None
