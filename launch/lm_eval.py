r"""lm-evaluation-harness with our models in it: `--model radit_jax`.

Everything else is the harness' own command line:

    python -m launch.lm_eval --model radit_jax --model_args pretrained=MODEL \
        --tasks hellaswag --batch_size 16

A run's tuned LM, with its retriever before it (none: closed book):

    python -m launch.lm_eval --model radit_jax --tasks nq_open --num_fewshot 5 \
        --model_args workdir=runs/q,lm=ra_it,retriever=tuned,num_chunks=10
"""

import functools
from collections.abc import Sequence
from typing import Any

from etils import epath

from launch import cli
from radit_jax.config import Config
from radit_jax.inference.questions import log_p_r
from radit_jax.models import compute_weights, pretrained
from radit_jax.stages import inputs
from radit_jax.training import mesh
from radit_jax.workdir import Workdir

_HINT = "lm-evaluation-harness is not installed. Run: pip install 'radit_jax[lm-eval]'"


def main() -> None:
    """Hands the command line to the harness."""
    try:
        from lm_eval.__main__ import cli_evaluate

        from radit_jax.evaluation import lm_eval_model
    except ModuleNotFoundError as error:
        if error.name != "lm_eval":
            raise
        cli.fail(_HINT)
    lm_eval_model.register(open_model)
    cli_evaluate()


def open_model(arguments: dict[str, Any]):
    """The model that `--model_args` names.

    Args:
      arguments: `pretrained`, or `workdir` with `lm`, `retriever` and `num_chunks`;
        and whatever `HarnessLM` takes.

    Raises:
      ValueError: neither or both of `pretrained` and `workdir`, or what they hold
        can't be opened.
    """
    from radit_jax.evaluation.lm_eval_model import HarnessLM

    rest = dict(arguments)
    path, folder = rest.pop("pretrained", ""), rest.pop("workdir", "")
    if bool(path) == bool(folder):
        raise ValueError(
            f"--model_args has pretrained={path!r} and workdir={folder!r}; give one: a "
            "model's directory, or a run's folder."
        )
    if path:
        models = pretrained.load_lm(path, rest.pop("dtype", "float32"))
        compute_weights.round_weights(models[0])
        return HarnessLM(*models, name=str(path), mesh=mesh.make_mesh(), **rest)
    workdir = Workdir(epath.Path(folder).expanduser())
    config = cli.remembered(workdir)
    name, retriever = rest.pop("lm", "base"), rest.pop("retriever", "none")
    num_chunks = int(rest.pop("num_chunks", config.predict.num_chunks))
    if retriever != "none":
        rest["retrieve"] = functools.partial(
            _retrieve,
            config,
            inputs.retriever(config, workdir, retriever),
            inputs.chunk_store(workdir),
            num_chunks,
        )
    models = inputs.load_lm(config, workdir, name)
    return HarnessLM(*models, name=f"{folder}-{name}", mesh=mesh.make_mesh(), **rest)


def _retrieve(config: Config, retriever, store, k: int, queries: Sequence[str]):
    """For each query its k chunks' passages with log p_R."""
    ids, scores = retriever.retrieve(queries, k)
    temperature = config.encoder.temperature
    return [
        [
            (chunk.passage, weight)
            for chunk, weight in zip(
                store.get_many(row), log_p_r(some, temperature), strict=True
            )
        ]
        for row, some in zip(ids.tolist(), scores.tolist(), strict=True)
    ]


if __name__ == "__main__":
    main()
