"""What several stages open: LMs, towers, embeddings and the retriever."""

from collections.abc import Sequence
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from radit_jax import artifacts, fingerprint
from radit_jax.artifacts import Artifact
from radit_jax.config import Config
from radit_jax.corpus.store import ChunkStore
from radit_jax.models import compute_weights, lora, peft, pretrained, shards
from radit_jax.models.decoder import Decoder
from radit_jax.models.dual_encoder import Tower
from radit_jax.retrieval import bm25_index, index
from radit_jax.retrieval.bm25_index import BM25Index
from radit_jax.retrieval.embedder import Embedder
from radit_jax.retrieval.embeddings import Embeddings
from radit_jax.retrieval.fusion import Fusion
from radit_jax.retrieval.index import Index
from radit_jax.retrieval.retrieved_lines import RetrievedLines
from radit_jax.retrieval.retriever import DenseSearcher, Retriever, Searcher
from radit_jax.retrieval.unique_texts import UniqueTexts
from radit_jax.text.tokenizer import LMTokenizer
from radit_jax.training import mesh
from radit_jax.types import Retrieved
from radit_jax.workdir import Workdir

SPLITS = ("train", "validation", "dev", "corpus")


def chunk_store(workdir: Workdir) -> ChunkStore:
    """The chunks that `chunk_corpus` wrote."""
    chunks = artifacts.load(workdir.chunks, "chunk_corpus")
    return ChunkStore(chunks.path)


def lm_hash(config: Config, workdir: Workdir, name: str) -> str:
    """The hash of the base LM's files, or of a tuned LM's manifest."""
    if name == "base":
        return fingerprint.hash_files(config.lm.path)
    flag = f"--config.lm_training.examples={name}"
    return artifacts.load(workdir.lm(name), "finetune_lm", flag).sha256


def retrieved(workdir: Workdir, query_tower: str) -> Artifact:
    """What `retrieve` found with this query tower."""
    flag = f"--config.retrieve.query_tower={query_tower}"
    return artifacts.load(workdir.retrieved(query_tower), "retrieve", flag)


def read_retrieved(workdir: Workdir, query_tower: str, split: str) -> list[Retrieved]:
    """The questions of one split, each with its chunks.

    Raises:
      ArtifactError: the split was not retrieved.
    """
    return [*RetrievedLines(_retrieved_file(workdir, query_tower, split))]


def _retrieved_file(workdir: Workdir, query_tower: str, split: str) -> epath.Path:
    found = retrieved(workdir, query_tower)
    if split not in found.counts:
        raise artifacts.ArtifactError(
            f"{found.path} has no split {split!r}, only {list(found.counts)}; run "
            "`python -m launch.retrieve --overwrite` with --config.retrieve.splits "
            "that name it."
        )
    return found.path / f"{split}.jsonl"


def retriever_questions(config: Config, workdir: Workdir, split: str) -> RetrievedLines:
    """The questions of D_R in one split: the user's own, and its sets'.

    They stay on disk: there may be a million.

    Raises:
      ArtifactError: as `read_retrieved`.
    """
    tasks = ("", *config.instructions.retriever_tasks)
    return RetrievedLines(_retrieved_file(workdir, "base", split), tasks)


def lm_path(config: Config, workdir: Workdir, name: str) -> epath.Path:
    """Where an LM's weights and tokenizer are: of an adapter, the base LM's."""
    tuned = workdir.lm(name)
    if name == "base" or (tuned / "adapter").exists():
        return epath.Path(config.lm.path)
    return tuned / "model"


def load_lm(
    config: Config,
    workdir: Workdir,
    name: str,
    devices: Mesh | None = None,
    *,
    learns: bool = False,
) -> tuple[Decoder, LMTokenizer]:
    """The base LM, or the one that `finetune_lm` wrote under `name`.

    Adapters are merged into the base LM, so that they cost nothing afterwards.
    Weights are held as they are multiplied, in `lm.compute_dtype`, unless they learn.

    Args:
      config: its section `lm`.
      workdir: of the run.
      name: "base" or the tuned LM's.
      devices: where its parameters go, each shard straight to its device; None: the
        default device.
      learns: the weights will be trained: they stay float32.

    Raises:
      ArtifactError: the adapters are of another base LM than the config's.
    """
    path = lm_path(config, workdir, name)
    place = shards.on_default_device if devices is None else mesh.places(devices)
    decoder, tokenizer = pretrained.load_lm(path, config.lm.compute_dtype, place=place)
    if config.lm.max_tokens > decoder.config.max_positions:
        raise ValueError(
            f"--config.lm.max_tokens={config.lm.max_tokens} is more than the "
            f"{decoder.config.max_positions} positions of the LM in {path}; lower it."
        )
    adapter = workdir.lm(name) / "adapter"
    if name != "base" and adapter.exists():
        _check_base(config, workdir, name)
        lora.merge(decoder, peft.load(adapter, decoder.config, place))
    if not learns:
        compute_weights.round_weights(decoder)
    return decoder, tokenizer


def _check_base(config: Config, workdir: Workdir, name: str) -> None:
    tuned = artifacts.load(workdir.lm(name), "finetune_lm")
    if tuned.manifest["inputs"]["lm"] != fingerprint.hash_files(config.lm.path):
        raise artifacts.ArtifactError(
            f"{tuned.path / 'adapter'} was trained on another LM than the one in "
            f"{config.lm.path}; set --config.lm.path to that one, or run `python -m "
            f"launch.finetune_lm --config.lm_training.examples={name} --overwrite`."
        )


def query_settings(config: Config) -> dict[str, Any]:
    """The encoder settings that a query embedding depends on."""
    encoder = config.encoder
    return {
        "pooling": encoder.pooling,
        "normalize": encoder.normalize,
        "prefix": encoder.query_prefix,
        "max_tokens": encoder.max_query_tokens,
        "compute_dtype": encoder.compute_dtype,
    }


def passage_settings(config: Config) -> dict[str, Any]:
    """The encoder settings that a passage embedding depends on."""
    encoder = config.encoder
    return query_settings(config) | {
        "prefix": encoder.passage_prefix,
        "max_tokens": encoder.max_passage_tokens,
    }


def passage_tower(config: Config) -> Tower:
    """The passage tower; no stage changes it."""
    return pretrained.load_tower(
        config.encoder.passage_path, **passage_settings(config)
    )


def query_tower_hash(config: Config, workdir: Workdir, name: str) -> str:
    """The hash of the base query tower's files, or of the tuned one's manifest."""
    if name == "base":
        return fingerprint.hash_files(config.encoder.query_path)
    return artifacts.load(workdir.query_tower, "finetune_retriever").sha256


def query_tower(config: Config, workdir: Workdir, name: str) -> Tower:
    """The base query tower, or the one that `finetune_retriever` wrote."""
    path = config.encoder.query_path
    if name == "tuned":
        path = workdir.query_tower / "model"
    return pretrained.load_tower(path, **query_settings(config))


def embeddings_of(embedded: Artifact) -> Embeddings:
    """The memory-mapped embedding matrix of a finished `embed_corpus`."""
    return Embeddings(embedded.path, embedded.counts["shards"])


def index_hashes(config: Config, workdir: Workdir) -> dict[str, str]:
    """The manifests' hashes of the indexes that `config.retrieve.kind` searches."""
    hashes = {}
    if config.retrieve.kind != "bm25":
        hashes["index"] = artifacts.load(workdir.index, "build_index").sha256
    if config.retrieve.kind != "dense":
        flag = f"--config.retrieve.kind={config.retrieve.kind}"
        hashes["bm25"] = artifacts.load(workdir.bm25, "build_index", flag).sha256
    return hashes


def retriever(config: Config, workdir: Workdir, query_tower_name: str) -> Retriever:
    """What finds chunks: see `config.retrieve`.

    Raises:
      ArtifactError: an index is of another corpus or passage tower.
    """
    names = (query_tower_name,)
    return retrievers(config, workdir, names)[query_tower_name]


def retrievers(
    config: Config, workdir: Workdir, query_tower_names: Sequence[str]
) -> dict[str, Retriever]:
    """One for each query tower, over the same indexes in memory.

    Raises:
      ArtifactError: an index is of another corpus or passage tower.
    """
    settings = config.retrieve
    dense = None if settings.kind == "bm25" else _dense_index(config, workdir)
    words = None if settings.kind == "dense" else bm25(workdir)
    found = {}
    for name in query_tower_names:
        searchers: list[Searcher] = []
        if dense is not None:
            tower = query_tower(config, workdir, name)
            embedder = Embedder(tower)
            searchers.append(DenseSearcher(embedder, dense, settings.batch_size))
        if words is not None:
            searchers.append(words)
        found[name] = Retriever(_joined(config, workdir, searchers))
    return found


def _joined(config: Config, workdir: Workdir, searchers: list[Searcher]) -> Searcher:
    settings = config.retrieve
    searcher = searchers[0]
    if settings.kind == "hybrid":
        searcher = Fusion(searchers, settings.fusion_depth)
    if settings.unique_texts:
        searcher = UniqueTexts(searcher, chunk_store(workdir))
    return searcher


def _dense_index(config: Config, workdir: Workdir) -> Index:
    embedded = checked_embeddings(config, workdir)
    built = artifacts.load(workdir.index, "build_index")
    if built.manifest["inputs"]["embeddings"] != embedded.sha256:
        raise artifacts.ArtifactError(
            f"{built.path} was not built from the embeddings in {embedded.path}; run "
            "`python -m launch.build_index --overwrite`."
        )
    # All devices of the job share the rows: its processes search together.
    return index.load(built.path, embeddings_of(embedded), jax.devices())


def checked_embeddings(config: Config, workdir: Workdir) -> Artifact:
    """The finished `embed_corpus` of this config's passage tower and corpus.

    Raises:
      ArtifactError: it is of another one.
    """
    embedded = artifacts.load(workdir.embeddings, "embed_corpus")
    made = embedded.manifest["inputs"] | embedded.manifest["config"]
    wanted = {
        "passage_tower": fingerprint.hash_files(config.encoder.passage_path),
        "encoder": passage_settings(config),
        "chunks": artifacts.load(workdir.chunks, "chunk_corpus").sha256,
    }
    changes = [name for name, value in wanted.items() if made.get(name) != value]
    if changes:
        raise artifacts.ArtifactError(
            f"{embedded.path} holds embeddings by other {' and '.join(changes)} than "
            f"this config ({config.encoder.passage_path}) and workdir have; run "
            "`python -m launch.run_pipeline` to bring stages 2 and 3 up to date."
        )
    return embedded


def bm25(workdir: Workdir) -> BM25Index:
    """The index over the chunks' words.

    Raises:
      ArtifactError: it was built from other chunks.
    """
    chunks = artifacts.load(workdir.chunks, "chunk_corpus")
    flag = "--config.retrieve.kind=bm25"
    built = artifacts.load(workdir.bm25, "build_index", flag)
    if built.manifest["inputs"]["chunks"] != chunks.sha256:
        raise artifacts.ArtifactError(
            f"{built.path} was not built from the chunks in {chunks.path}; run "
            f"`python -m launch.build_index {flag} --overwrite`."
        )
    return bm25_index.load(built.path / "index", len(chunk_store(workdir)))
