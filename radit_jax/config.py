"""One slotted dataclass a stage; `Config.validate` is called once, by the launcher.

What each field may hold stands in `config_rules`. Paths go through `etils.epath`;
only local ones have been tried.
"""

import dataclasses
from typing import Any

from radit_jax import config_rules

_KINDS = (str, bool, tuple)  # of a field: never one for the other


class ConfigError(ValueError):
    """A configuration that cannot work: the facts, the values and the remedies."""


@dataclasses.dataclass(slots=True)
class CorpusConfig:
    """Stage 1, `chunk_corpus`."""

    documents: str = ""  # a file, or a folder of them: see corpus.formats
    id_field: str = "id"  # JSON field with the document's id; absent: file and line
    title_field: str = "title"  # JSON field with the title; may be absent
    text_field: str = "text"  # JSON field with the text; must be there
    max_documents: int = 0  # keep this many, in reading order; 0 keeps all
    max_chunk_words: int = 200  # a chunk has fewer words than this (paper §5)
    max_web_chunk_words: int = 100  # likewise, of web text: .wet files (paper §5)
    min_chunk_words: int = 5  # shorter chunks are dropped, and counted
    max_bad_share: float = 0.001  # of lines that can't be read; above: the run fails
    drop_duplicates: str = ""  # "exact", "near" (which are exact too), "": none
    near_duplicate_similarity: float = 0.8  # Jaccard, of sets of 5 words
    decontaminate: str = ""  # "list" or "drop" chunks with a benchmark's 13-gram
    benchmarks: str = ""  # questions that a chunk may not hold; "": instructions.dev
    block_documents: int = 4096  # documents a shard: what a killed run repeats
    runner: str = ""  # of Apache Beam, e.g. DirectRunner; "": this process, alone
    runner_options: tuple[str, ...] = ()  # Beam's own flags, e.g. "--region=…"


@dataclasses.dataclass(slots=True)
class InstructionsConfig:
    """The questions: JSON lines with `question`, `answers`, optional `positives`.

    Fine-tuning sets (paper §2) come beside them, or instead of `train`.
    """

    train: str = ""  # questions to learn from
    lm_tasks: tuple[str, ...] = ()  # sets of D_L: see radit_jax/instruct/tasks
    retriever_tasks: tuple[str, ...] = ()  # sets of D_R
    tasks_dir: str = "~/tensorflow_datasets"  # where `prepare_tasks` puts them
    dev: str = ""  # questions to report on; never trained on, never selected on
    max_train: int = 0  # keep this many train questions; 0 keeps all
    max_dev: int = 0  # keep this many dev questions; 0 keeps all
    validation_fraction: float = 0.1  # of train, by document: selects checkpoints
    corpus_queries: int = 0  # chunks cut into (first, last) tokens for R-ft (paper §4)
    corpus_query_tokens: int = 50  # LM tokens of each of the two ends
    seed: int = 0  # of the subsets and of the validation split


@dataclasses.dataclass(slots=True)
class LMConfig:
    """The base language model."""

    path: str = ""  # a Hugging Face directory, or a .gguf file
    max_tokens: int = 1024  # prompt and answer; longer: the chunk is cut, and counted
    # Of matrix products' inputs: float32 or bfloat16; "auto": bfloat16, but on CPUs.
    compute_dtype: str = "auto"
    tensor: int = 1  # devices that share the LM where it scores and answers


@dataclasses.dataclass(slots=True)
class EncoderConfig:
    """The base dual encoder: two towers, never shared."""

    query_path: str = ""  # a Hugging Face directory
    passage_path: str = ""  # likewise; may be the same directory
    # "cls" (DRAGON+) or "mean"; "": the directory's own pooling and `normalize`, which
    # its modules.json says. One that says otherwise than set here is an error.
    pooling: str = "cls"
    normalize: bool = False  # L2-normalise embeddings
    query_prefix: str = ""  # e.g. "query: " for E5
    passage_prefix: str = ""  # e.g. "passage: " for E5
    max_query_tokens: int = 64  # longer ones are cut; 0: at the directory's own limit
    max_passage_tokens: int = 256  # likewise
    temperature: float = 1.0  # p_R = softmax(s / temperature); the paper has none
    compute_dtype: str = "auto"  # of matrix products' inputs, as in lm


@dataclasses.dataclass(slots=True)
class EmbedConfig:
    """Stage 2, `embed_corpus`."""

    # Passages of full length that run together; of shorter ones more, so that batches
    # have equally many tokens. 0: as suits the devices.
    batch_size: int = 0
    shard_size: int = 16_384  # passages a file: what a killed run repeats at most
    dtype: str = "float32"  # of the stored matrix: float32, float16 or bfloat16


@dataclasses.dataclass(slots=True)
class IndexConfig:
    """Stage 3, `build_index`."""

    kind: str = "auto"  # "exact", "scann", or "auto": scann where it pays
    exact_below: int = 20_000  # "auto" takes the exact index under this many chunks
    # Of rows in memory: "bfloat16", or "": as stored. Scores of what is found are exact
    # all the same.
    rows_dtype: str = ""
    target_recall: float = 0.95  # against exact search, at `recall_at`; under: error
    recall_at: int = 10  # chunks
    recall_queries: int = 2048  # half of them tune scann's search, half measure it
    recall_noise: float = 0.7  # of corpus rows as queries, as a share of their length
    approximate_recall: float = 1.0  # exact index: of TPUs' approx_max_k; 1: a sort
    num_parts: int = 1  # scann: indexes, each built and searched by one host
    num_leaves: int = 0  # scann: of a part's tree; 0: about the root of its chunks
    seed: int = 0  # of the sampled queries


@dataclasses.dataclass(slots=True)
class RetrieveConfig:
    """Stage 4, `retrieve`."""

    query_tower: str = "base"  # "base", or "tuned": finetune_retriever's
    num_chunks: int = 10  # k (paper §1)
    splits: tuple[str, ...] = ()  # (): all for "base", ("dev",) for "tuned"
    batch_size: int = 64  # queries
    # "dense", "bm25" (by words, no encoder) or "hybrid" (both, by reciprocal ranks).
    # Scores of the last two are no dot products: see encoder.temperature.
    kind: str = "dense"
    unique_texts: bool = False  # of chunks with the same text, only the best counts
    fusion_depth: int = 100  # chunks of each ranking that "hybrid" fuses
    bm25_k1: float = 0.9  # how slowly repeated words stop counting (Anserini's)
    bm25_b: float = 0.4  # how much longer chunks are worth less, 0 to 1 (likewise)


@dataclasses.dataclass(slots=True)
class ExamplesConfig:
    """Stage 5, `build_examples`."""

    kind: str = "ra_it"  # "ra_it": with Background; "it": plain instruction tuning
    num_chunks: int = 3  # each is an example of its own (paper §1)
    max_task_examples: int = 7500  # cap of a set's questions; 0: none (paper §2)
    text_weight: float = 0.0  # share of unsupervised corpus text (paper: 0.1)
    dialogue_weight: float = 0.05  # share of oasst1, where D_L has it (paper §2)
    num_examples: int = 0  # drawn from the mixture; 0: every question once
    row_tokens: int = 2048  # length of a packed row (paper §3)
    seed: int = 0  # of the template markers


@dataclasses.dataclass(slots=True)
class LMTrainingConfig:
    """Stage 6, `finetune_lm` (paper §3)."""

    # Which stage-5 output; also the tuned LM's name. "ra_it_64shot": what
    # `build_shot_examples` made, on which the LM "ra_it" is tuned further.
    examples: str = "ra_it"
    peak_learning_rate: float = 1e-5  # after the warm-up
    end_learning_rate: float = 1e-7  # at the last step
    warmup_steps: int = 200  # from 0, in a line
    schedule: str = "cosine"  # peak to end: "cosine", or "linear" (64-shot stage)
    num_steps: int = 500  # optimizer steps in all
    batch_rows: int = 64  # packed rows a step
    it_batch_rows: int = 64  # likewise for "it", whose examples are shorter
    accumulation_steps: int = 1  # micro-batches a step; divides batch_rows
    weight_decay: float = 0.1  # of AdamW, a step, times the learning rate
    clip_norm: float = 1.0  # largest norm of a step's gradient
    # What the backward pass computes again instead of keeping it: "none" of the large
    # products; "mlp", those into the feed-forward layers, a sixth more work for less
    # than half the memory; "layer", all, a third more for the least.
    remat: str = "layer"
    # 0: all parameters learn. Else LoRA adapters of this rank do, and nothing else.
    lora_rank: int = 0
    lora_alpha: float = 32.0  # what adapters add is scaled by alpha / rank
    # Projections that get adapters, by their Hugging Face names.
    lora_targets: tuple[str, ...] = (
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    )
    lora_save: str = "adapter"  # in PEFT's format; or "merged" into a whole model
    checkpoint_every: int = 100  # steps
    keep_checkpoints: int = 2  # the newest ones, to go on from
    validate_every: int = 100  # steps: validation loss, best checkpoint kept
    validation_rows: int = 0  # packed rows that it is measured on; 0: all
    # Validation questions that are answered with retrieval, as `predict` would, for
    # their exact match (paper §3); 0: none.
    validation_questions: int = 0
    # The score that keeps a checkpoint: "validation_em" or "validation_loss"; "": the
    # exact match where it is measured, as the paper does, else the loss.
    choose_by: str = ""
    patience: int = 0  # validations in a row with no better score end the run; 0: none
    fsdp: int = 1  # devices that share one copy of parameters and optimizer
    tensor: int = 1  # devices that share each matrix product
    seed: int = 0  # of the order of rows


@dataclasses.dataclass(slots=True)
class ScoringConfig:
    """Stage 7, `score_chunks`."""

    lm: str = "base"  # "base" (the paper), or a tuned LM's name
    num_chunks: int = 10  # of the retrieved, best first
    splits: tuple[str, ...] = (
        "train",
        "corpus",
    )  # of the retrieved questions, those to score
    max_questions: int = 0  # of each split; 0 scores all
    batch_tokens: int = 2048  # that run together on a device
    shard_size: int = 256  # questions a file: what a killed run repeats at most


@dataclasses.dataclass(slots=True)
class RetrieverTrainingConfig:
    """Stage 8, `finetune_retriever` (paper §1, §4)."""

    lm: str = "base"  # whose scores: "base" (the paper), or a tuned LM's name
    loss: str = "lsr"  # the paper's; or "replug_lsr", "pdist", "emdr2": see ops.losses
    score: str = ""  # form of score_LM, see ops.likelihood; "": the loss's own
    lm_temperature: float | None = None  # τ of Eq. 4; None: the loss's own
    retriever_temperature: float | None = None  # of p_R; None: the loss's own
    direction: str = "forward"  # KL(p_R || p_LSR), the paper; "reverse": the other
    # Whose scores teach: "lm"; or, to tell signal from noise, "shuffled": the LM's, of
    # other chunks of the same query; "gold": 1 for chunks of positives, 0 for others.
    teacher: str = "lm"
    # "query" (the paper); "both": also the passage tower, which makes the index stale.
    train: str = "query"
    corpus_weight: float = 0.95  # share of corpus data in a batch (paper §4)
    peak_learning_rate: float = 1e-5  # after the warm-up; 0 at the last step
    warmup_steps: int = 1237  # from 0, in a line
    num_steps: int = 10_000  # optimizer steps in all
    batch_size: int = 512  # queries a step
    weight_decay: float = 0.1  # of AdamW, a step, times the learning rate
    clip_norm: float = 1.0  # largest norm of a step's gradient
    checkpoint_every: int = 500  # steps
    validate_every: int = 500  # steps: validation MRR, best checkpoint kept
    seed: int = 0  # of the batches

    def resolved(self, encoder_temperature: float) -> "RetrieverTrainingConfig":
        """The same with the loss's own score and temperatures where none are given.

        emdr2 reads the LM token by token: its score and lm_temperature are what the
        diagnostics compare p_R to, p_LM(y | c) over the chunks' sum.

        Args:
          encoder_temperature: `EncoderConfig.temperature`, p_R's in RA-DIT.
        """
        own = {
            "lsr": ("mean_log_likelihood", 0.01, encoder_temperature),
            "replug_lsr": ("likelihood", 0.1, 0.1),
            "pdist": ("mean_log_likelihood", 0.01, 0.01),
            "emdr2": ("log_likelihood", 1.0, 1.0),
        }
        score, *temperatures = own[self.loss]
        given = self.lm_temperature, self.retriever_temperature
        lm, retriever = (
            other if value is None else value
            for value, other in zip(given, temperatures, strict=True)
        )
        return dataclasses.replace(
            self,
            score=self.score or score,
            lm_temperature=lm,
            retriever_temperature=retriever,
        )


@dataclasses.dataclass(slots=True)
class PredictConfig:
    """Stage 9, `predict`."""

    lm: str = "base"  # "base", or a tuned LM's name
    # Of "none", "base", "tuned"; (): those of the six systems that have this LM.
    retrievers: tuple[str, ...] = ()
    max_questions: int = 0  # a fixed draw of the dev questions; 0: all
    # "answer_ensemble" (Eq. 2); "token_ensemble": the next token's mixture (REPLUG);
    # "concatenate": all chunks in one Background, best first.
    mode: str = "answer_ensemble"
    num_chunks: int = 10  # k (paper §1); 0: closed book
    num_demonstrations: int = 0  # solved train questions before every prompt
    max_answer_tokens: int = 16  # written for a prompt, at most
    stop: tuple[str, ...] = ("\n",)  # an answer ends before the first of these
    temperature: float = 0.0  # of drawn tokens; 0: greedy (paper §8)
    top_p: float = 1.0  # draw among the likeliest tokens that hold this share
    seed: int = 0  # of drawn tokens, and of the demonstrations' choice
    batch_size: int = 64  # prompts decoded together
    shard_size: int = 64  # questions a file: what a killed run repeats at most
    # "": the systems. Else a probe of one retriever, an artifact of its own: "depth"
    # (for several k), "concatenate" (likewise, chunks in one Background), "passages"
    # (a right chunk, a random one, none). See evaluation.probe_questions.
    probe: str = ""
    probe_chunks: tuple[int, ...] = (0, 1, 3, 10)  # k; above num_chunks: left out


@dataclasses.dataclass(slots=True)
class EvaluationConfig:
    """Stage 10, `evaluate`."""

    num_bootstrap: int = 2000  # resamples behind the 95 % intervals
    num_shown: int = 8  # questions drawn in full in the report
    num_browsed: int = 2500  # questions that the report's browser holds, at most
    probe_questions: int = 0  # that the pipeline's probes ask; 0: no probes
    probe_tokens: int = 0  # lm.max_tokens of probe "concatenate"; 0: lm.max_tokens
    seed: int = 0  # of the resamples, and of the questions shown


@dataclasses.dataclass(slots=True)
class BenchmarksConfig:
    """The paper's benchmarks and tables, `evaluate_benchmarks` (paper §6)."""

    folder: str = ""  # of the benchmarks' files, with a folder each
    names: tuple[str, ...] = ()  # e.g. ("nq", "boolq"); (): all whose files are there
    shots: tuple[int, ...] = (0, 5)  # demonstrations before a question; those to run
    train_shots: int = 64  # questions of each task that "ra_it_64shot" learns
    split: str = ""  # "dev" or "test"; "": the table's own
    max_items: int = 2500  # of a split, a fixed draw (paper §6, dev); 0: all
    seed: int = 0  # of that draw, and of the demonstrations'
    num_chunks: int = 10  # k (paper §1), where a table's line does not set its own
    # By what KILT's pages are told from each other: documents' "title", or their id
    # where the corpus is KILT's own, "wikipedia_id".
    kilt_pages: str = "title"
    batch_size: int = 64  # prompts that run together
    shard_size: int = 64  # questions a file: what a killed run repeats at most


@dataclasses.dataclass(slots=True)
class Config:
    """A whole run."""

    corpus: CorpusConfig = dataclasses.field(default_factory=CorpusConfig)
    instructions: InstructionsConfig = dataclasses.field(
        default_factory=InstructionsConfig
    )
    lm: LMConfig = dataclasses.field(default_factory=LMConfig)
    encoder: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
    embed: EmbedConfig = dataclasses.field(default_factory=EmbedConfig)
    index: IndexConfig = dataclasses.field(default_factory=IndexConfig)
    retrieve: RetrieveConfig = dataclasses.field(default_factory=RetrieveConfig)
    examples: ExamplesConfig = dataclasses.field(default_factory=ExamplesConfig)
    lm_training: LMTrainingConfig = dataclasses.field(default_factory=LMTrainingConfig)
    scoring: ScoringConfig = dataclasses.field(default_factory=ScoringConfig)
    retriever_training: RetrieverTrainingConfig = dataclasses.field(
        default_factory=RetrieverTrainingConfig
    )
    predict: PredictConfig = dataclasses.field(default_factory=PredictConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    benchmarks: BenchmarksConfig = dataclasses.field(default_factory=BenchmarksConfig)

    def validate(self, *sections: str) -> None:
        """Checks every field and every named path.

        Args:
          *sections: check these alone; none given: all.

        Raises:
          ConfigError: with all problems found, each with its value and remedy.
        """
        problems = config_rules.problems(self)
        # Each begins "--config.{section}.".
        problems = [p for p in problems if not sections or p.split(".")[1] in sections]
        if problems:
            raise ConfigError(
                f"the config has {len(problems)} problem(s):\n"
                + "\n".join(f"  - {problem}" for problem in problems)
            )

    def settle(self, platform: str) -> None:
        """Puts what "auto" stands for on this platform into `compute_dtype`.

        So that artifacts say what they were computed in, and a run that is taken up
        on another platform goes on as it began.

        Args:
          platform: "cpu", "gpu" or "tpu".
        """
        for section in (self.lm, self.encoder):
            if section.compute_dtype == "auto":
                is_cpu = platform == "cpu"
                section.compute_dtype = "float32" if is_cpu else "bfloat16"

    @classmethod
    def from_dict(cls, values: dict[str, dict[str, Any]]) -> "Config":
        """The config of `dataclasses.asdict`, or of the JSON that holds it.

        Raises:
          ConfigError: an unknown section or field, or one of another kind.
        """
        config = cls()
        for section, fields in values.items():
            for field, value in fields.items():
                if not hasattr(getattr(config, section, None), field):
                    raise ConfigError(
                        f"{section}.{field} is no field of this version's config; "
                        "run the pipeline again with this version."
                    )
                kept = tuple(value) if isinstance(value, list) else value
                default = getattr(getattr(config, section), field)
                # A number may be whole or not; other kinds are never one another.
                if any(isinstance(kept, t) != isinstance(default, t) for t in _KINDS):
                    raise ConfigError(
                        f"{section}.{field} is {kept!r}, but this version's config "
                        f"has {default!r} there; put such a value into the run's "
                        "config.json, or run the pipeline again with this version."
                    )
                setattr(getattr(config, section), field, kept)
        return config

    def section(self, *names: str) -> dict[str, Any]:
        """The named sections for a manifest, as nested dicts, less the paths.

        A manifest records the hash of what a path holds, so that a moved folder is
        no other run.
        """
        return {
            name: {
                key: value
                for key, value in dataclasses.asdict(getattr(self, name)).items()
                if f"{name}.{key}" not in config_rules.REQUIRED_PATHS
            }
            for name in names
        }
