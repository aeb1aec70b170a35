"""FLOPs that a traced program will do, recomputation and all."""

import math
from collections.abc import Iterator
from typing import Any

import jax


def matmul_flops(traced: jax.stages.Traced) -> float:
    """Of all matrix products, over all devices together.

    Loops count as often as they go round; of `lax.while_loop`, which does not say,
    one turn counts; of `lax.cond` the dearer branch.
    """
    return _of_jaxpr(traced.jaxpr.jaxpr)


def _of_jaxpr(jaxpr: Any) -> float:
    return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _of_product(equation)
    inner = [_of_jaxpr(jaxpr) for jaxpr in _inner(params)]
    if not inner:
        return 0.0
    if name == "cond":
        return max(inner)
    times = 1
    if name == "scan":
        times = params["length"]
    elif name == "shard_map":  # its inside is one device's
        times = math.prod(params["mesh"].shape.values())
    elif name == "pallas_call":  # and its inside one step's of the grid
        grid = params["grid_mapping"].grid
        times = math.prod(size for size in grid if isinstance(size, int))
    return times * sum(inner)


def _of_product(equation: Any) -> float:
    ((contracted, _), _) = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    depth = math.prod(left[axis] for axis in contracted)
    return 2.0 * depth * math.prod(equation.outvars[0].aval.shape)


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            jaxpr = getattr(item, "jaxpr", item)
            if hasattr(jaxpr, "eqns"):
                yield jaxpr
