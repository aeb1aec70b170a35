"""Jobs: a benchmark's split, answered by one system with so many demonstrations."""

import dataclasses
from collections.abc import Collection

from etils import epath

from radit_jax import fingerprint
from radit_jax.config import BenchmarksConfig
from radit_jax.corpus.json_lines import CorpusError
from radit_jax.evaluation.benchmarks import files, reading
from radit_jax.evaluation.benchmarks.item import Benchmark, Item
from radit_jax.evaluation.benchmarks.tasks import BENCHMARKS

MODES = ("parallel", "concatenated")  # Eq. 2; or all chunks in one Background


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """How a benchmark is answered; LMs and retrievers as in `evaluation.systems`."""

    lm: str  # "base", or a tuned LM's name
    retriever: str = "none"  # or a query tower's: "base", "tuned"
    num_shots: int = 0  # demonstrations
    num_chunks: int = 0  # k; 0: closed book, or with a retriever the config's
    mode: str = "parallel"  # of MODES

    @property
    def system(self) -> str:
        """The folder of its artifacts: "base-none", "ra_it-tuned-k10"."""
        if self.retriever == "none":
            return f"{self.lm}-none"
        mode = "" if self.mode == "parallel" else f"-{self.mode}"
        return f"{self.lm}-{self.retriever}-k{self.num_chunks}{mode}"

    def resolved(self, benchmark: Benchmark, num_chunks: int) -> "Run":
        """With k filled in; closed book where the benchmark has no Background."""
        if self.retriever == "none" or not benchmark.with_background:
            return Run(self.lm, num_shots=self.num_shots)
        return dataclasses.replace(self, num_chunks=self.num_chunks or num_chunks)


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What one artifact of `evaluate_benchmarks` holds."""

    task: str  # a benchmark's name
    split: str
    run: Run  # resolved

    @property
    def benchmark(self) -> Benchmark:
        """Of the task."""
        return BENCHMARKS[self.task]

    def path(self, workdir: epath.Path) -> epath.Path:
        """Where its predictions and scores lie."""
        name = f"{self.task}-{self.split}-{self.run.num_shots}shot"
        return workdir / "benchmarks" / self.run.system / name

    def retrieved_path(self, workdir: epath.Path) -> epath.Path:
        """Where the chunks lie that its retriever found; systems share them."""
        name = f"{self.task}-{self.split}"
        return workdir / "benchmarks" / "retrieved" / self.run.retriever / name


class Reader:
    """Reads the items of jobs, each split once."""

    def __init__(self, settings: BenchmarksConfig):
        """Args: settings: the folder, and what is drawn of each split."""
        self._settings = settings
        self._read: dict[tuple[str, str], list[Item]] = {}
        self._hashes: dict[tuple[str, str], str] = {}

    def check(self, jobs: Collection[Job]) -> None:
        """Reads all that the jobs need, so that bad files are told before any work.

        Raises:
          CorpusError: with the problems in all of their files.
        """
        wanted = {(job.task, job.split) for job in jobs}
        wanted |= {(job.task, "train") for job in jobs if job.run.num_shots}
        problems = []
        for task, split in sorted(wanted):
            try:
                self._split(task, split)
            except CorpusError as error:
                problems.append(str(error))
        if problems:
            raise CorpusError("\n".join(problems))

    def items(self, job: Job) -> list[Item]:
        """The items that are asked.

        Raises:
          CorpusError: files are missing, or with the problems in them.
        """
        items = self._split(job.task, job.split)
        most = self._settings.max_items or len(items)
        return reading.sample(items, most, self._settings.seed)

    def demonstrations(self, job: Job, subject: str = "") -> list[Item]:
        """The solved items before each question; of MMLU, of the question's subject.

        Raises:
          CorpusError: files are missing, or with the problems in them.
          ValueError: there are too few items.
        """
        num_shots = job.run.num_shots
        if not num_shots:
            return []
        train = self._split(job.task, "train")
        return reading.demonstrations(train, num_shots, self._settings.seed, subject)

    def hashes(self, job: Job) -> dict[str, str]:
        """Of the files that the items, and the demonstrations, are read from."""
        splits = {"items": job.split} | (
            {"train": "train"} if job.run.num_shots else {}
        )
        return {name: self._hash(job.task, split) for name, split in splits.items()}

    def _split(self, task: str, split: str) -> list[Item]:
        if (task, split) not in self._read:
            read = reading.read(BENCHMARKS[task], split, self._settings.folder)
            self._read[task, split] = read
        return self._read[task, split]

    def _hash(self, task: str, split: str) -> str:
        if (task, split) not in self._hashes:
            found = files.find(BENCHMARKS[task], split, self._settings.folder)
            self._hashes[task, split] = " ".join(map(fingerprint.hash_files, found))
        return self._hashes[task, split]
