"""Where each artifact lies in a working directory."""

import dataclasses

from etils import epath


@dataclasses.dataclass(frozen=True, slots=True)
class Workdir:
    """The folders of one run; each is the artifact of one stage."""

    path: epath.Path

    @property
    def chunks(self) -> epath.Path:
        """Stage 1: the chunk store."""
        return self.path / "chunks"

    @property
    def embeddings(self) -> epath.Path:
        """Stage 2: one row per chunk."""
        return self.path / "embeddings"

    @property
    def index(self) -> epath.Path:
        """Stage 3: the search index over the embeddings."""
        return self.path / "index"

    @property
    def bm25(self) -> epath.Path:
        """Stage 3: the search index over the chunks' words."""
        return self.path / "bm25"

    def retrieved(self, query_tower: str) -> epath.Path:
        """Stage 4: the chunks that a query tower finds for each question."""
        return self.path / "retrieved" / query_tower

    def retrieval_quality(self, name: str) -> epath.Path:
        """Measures of a query tower's retrievers, or of a set in BEIR's layout."""
        return self.path / "retrieval_quality" / name

    def examples(self, kind: str) -> epath.Path:
        """Stage 5: packed rows, with ("ra_it") or without ("it") Background."""
        return self.path / "examples" / kind

    def lm(self, name: str) -> epath.Path:
        """Stage 6: the LM tuned on `examples(name)`."""
        return self.path / "lm" / name

    def scores(self, lm: str) -> epath.Path:
        """Stage 7: log-likelihoods of the answers under an LM, chunk by chunk."""
        return self.path / "scores" / lm

    @property
    def query_tower(self) -> epath.Path:
        """Stage 8: the tuned query tower."""
        return self.path / "query_tower"

    def predictions(self, lm: str) -> epath.Path:
        """Stage 9: an LM's answers, one file a retriever."""
        return self.path / "predictions" / lm

    def probe(self, lm: str, name: str) -> epath.Path:
        """Stage 9: an LM's answers to a probe, see `evaluation.probes`."""
        return self.path / "probes" / lm / name

    @property
    def evaluation(self) -> epath.Path:
        """Stage 10: `results.json` and `report.html`."""
        return self.path / "evaluation"

    def study_arm(self, name: str) -> "Branch":
        """Of `launch.study`: what one arm makes, and what its query tower finds."""
        return Branch(self.path / "study" / name, self)

    @property
    def study(self) -> epath.Path:
        """`results.json` and `study.html`: all arms measured."""
        return self.path / "study" / "evaluation"


@dataclasses.dataclass(frozen=True, slots=True)
class Branch(Workdir):
    """A workdir that trains its own query tower on another one's stages 1 to 7."""

    trunk: Workdir

    @property
    def chunks(self) -> epath.Path:
        """The trunk's."""
        return self.trunk.chunks

    @property
    def embeddings(self) -> epath.Path:
        """The trunk's."""
        return self.trunk.embeddings

    @property
    def index(self) -> epath.Path:
        """The trunk's."""
        return self.trunk.index

    @property
    def bm25(self) -> epath.Path:
        """The trunk's."""
        return self.trunk.bm25

    def retrieved(self, query_tower: str) -> epath.Path:
        """The trunk's, but of the tuned tower."""
        own = self.path / "retrieved" / query_tower
        return own if query_tower == "tuned" else self.trunk.retrieved(query_tower)

    def lm(self, name: str) -> epath.Path:
        """The trunk's."""
        return self.trunk.lm(name)

    def scores(self, lm: str) -> epath.Path:
        """The trunk's."""
        return self.trunk.scores(lm)

    @property
    def ranking(self) -> epath.Path:
        """The best chunks of the dev questions, by the query tower of this branch."""
        return self.path / "ranking"
