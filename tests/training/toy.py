"""A linear model, its loss, and batches that can be put back."""

import functools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from radit_jax.training import mesh as mesh_lib
from radit_jax.training import optimizer as optimizer_lib
from radit_jax.training import state as state_lib
from radit_jax.training import train_step

BATCH_ROWS = 8


class Killed(BaseException):
    """What nothing may catch."""


class Linear(nnx.Module):
    def __init__(self, rngs, inputs=16, outputs=4):
        weight = jax.random.normal(rngs.params(), (inputs, outputs))
        self.weight = nnx.Param(weight, axes=("embed", "mlp"))
        self.bias = nnx.Param(jnp.zeros(outputs), axes=("mlp",))

    def __call__(self, x):
        return x @ self.weight[...] + self.bias[...][None]


class Batches:
    """Batch i is a function of i; rows carry unequal weights."""

    num_rows = BATCH_ROWS

    def __init__(
        self, inputs=16, fail_at=None, nan_at=None, last=None, sigterm_at=None
    ):
        self.position, self.inputs, self.last = 0, inputs, last
        self.fail_at, self.nan_at, self.sigterm_at = fail_at, nan_at, sigterm_at

    def __next__(self):
        if self.position == self.last:
            raise StopIteration
        self.position += 1
        if self.position == self.fail_at:
            raise Killed
        if self.position == self.sigterm_at:
            os.kill(os.getpid(), signal.SIGTERM)
        rng = np.random.default_rng(self.position)
        x = rng.normal(size=(BATCH_ROWS, self.inputs)).astype(np.float32)
        if self.position == self.nan_at:
            x[3, 1] = np.nan
        y = rng.normal(size=(BATCH_ROWS, 4)).astype(np.float32)
        return {"x": x, "y": y, "mask": np.arange(BATCH_ROWS) % 3 != 1}

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]


def optimizer(num_steps=4, clip_norm=1.0):
    return optimizer_lib.make_optimizer(
        peak=0.1,
        end=0.01,
        warmup=1,
        num_steps=num_steps,
        weight_decay=0.1,
        clip_norm=clip_norm,
    )


def loss_fn(graphdef):
    def loss(params, batch):
        error = nnx.merge(graphdef, params)(batch["x"]) - batch["y"]
        squares = jnp.where(batch["mask"], jnp.sum(error**2, axis=1), 0)
        aux = {"error": jnp.sum(jnp.abs(error) * batch["mask"][:, None])}
        return squares.sum(), batch["mask"].sum(), aux

    return loss


def problem(mesh=None, inputs=16, num_steps=4, accumulation_steps=1):
    """A fresh `(step_fn, state, mesh)`."""
    mesh = mesh_lib.make_mesh(fsdp=2, tensor=2) if mesh is None else mesh
    params, adam, step_fn = _compiled(mesh, inputs, num_steps, accumulation_steps)
    return step_fn, state_lib.init_state(params, adam.transformation, mesh, 7), mesh


@functools.cache  # or every test would compile its own
def _compiled(mesh, inputs, num_steps, accumulation_steps):
    graphdef, params = nnx.split(Linear(nnx.Rngs(3), inputs))
    adam = optimizer(num_steps)
    step_fn = train_step.make_train_step(
        loss_fn(graphdef), adam, accumulation_steps, mesh=mesh
    )
    return params, adam, step_fn


def equal(one, other):
    """Bit for bit."""
    ones, others = jax.tree.leaves(one), jax.tree.leaves(other)
    return len(ones) == len(others) and all(
        np.array_equal(a, b) for a, b in zip(ones, others, strict=True)
    )
