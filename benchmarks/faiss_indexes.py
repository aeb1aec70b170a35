"""faiss, swept: the settings of each of its indexes that reach a recall fastest."""

import dataclasses
import functools
from collections.abc import Callable

import faiss
import numpy as np
from absl import logging

# The widths of IVF lists and of codes that faiss' own guidelines name for 10k to 1M
# rows, around the root of n; codes of a half and a quarter of a byte a dimension.
_LISTS = (1, 2, 4)  # times the root of n
_REFINE_FACTORS = (1, 2, 4, 8, 16, 32)
_EFFORTS = sorted({round(2 ** (i / 4)) for i in range(0, 45)})  # 1, 2, 3, 4, 5, … 2048


@dataclasses.dataclass(frozen=True)
class Setting:
    """One index at one setting of its search."""

    index: faiss.Index
    factory: str
    options: str  # of faiss.ParameterSpace; "": none

    @property
    def name(self) -> str:
        """What faiss calls it."""
        return f"faiss {self.factory} {self.options}".rstrip()

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and scores."""
        if self.options:
            faiss.ParameterSpace().set_index_parameters(self.index, self.options)
        scores, ids = self.index.search(queries, k)
        return ids, scores

    @functools.cached_property
    def bytes(self) -> int:
        """Of the index in memory: what faiss would write."""
        return len(faiss.serialize_index(self.index))


def factories(num_rows: int, width: int, quick: bool) -> dict[str, list[str]]:
    """faiss' index descriptions by family."""
    lists = [
        round(times * num_rows**0.5) for times in (_LISTS[:1] if quick else _LISTS)
    ]
    codes = [width // 4] if quick else [width // 4, width // 2]
    return {
        "IVF,PQfs,Refine": [
            f"IVF{count},PQ{code}x4fs,Refine({refine})"
            for count in lists
            for code, refine in zip(codes, ("SQfp16", "Flat"), strict=False)
        ],
        "IVF,Flat": [f"IVF{count},Flat" for count in lists],
        "HNSW": ["HNSW32"],
    }


def build(factory: str, rows: np.ndarray) -> Setting:
    """Trains and fills an index for dot products."""
    index = faiss.index_factory(rows.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add(rows)
    return Setting(index, factory, "")


def reaching(
    built: Setting, recall: Callable[[Setting], float], target: float
) -> list[Setting]:
    """For each refinement factor, the least effort whose recall is `target`."""
    has_refinement = "Refine" in built.factory
    found = []
    for factor in _REFINE_FACTORS if has_refinement else (0,):
        low, high = 0, len(_EFFORTS) - 1
        if recall(_at(built, high, factor)) < target:
            continue
        while low < high:
            middle = (low + high) // 2
            reached = recall(_at(built, middle, factor)) >= target
            low, high = (low, middle) if reached else (middle + 1, high)
        found.append(_at(built, low, factor))
    logging.info("%s: %s", built.factory, [one.options for one in found])
    return found


def _at(built: Setting, rung: int, factor: int) -> Setting:
    effort = _EFFORTS[rung]
    if built.factory.startswith("HNSW"):
        options = f"efSearch={max(10, effort)}"
    else:
        count = int(built.factory.removeprefix("IVF").partition(",")[0])
        options = f"nprobe={min(effort, count)}"
    if factor:
        options += f",k_factor_rf={factor}"
    return dataclasses.replace(built, options=options)
