"""A plan as a person reads it: Markdown."""

from typing import Any


def of_stage(plan: dict[str, Any]) -> str:
    """Of `stages.plan`: a table a step, and whether it fits."""
    mesh = " × ".join(f"{name} {size}" for name, size in plan["mesh"].items())
    head = f"{plan['stage']} on {plan['topology']}: {plan['chips']} chips as {mesh}."
    return "\n\n".join([head, *(_of_step(*one) for one in plan["steps"].items())])


def _of_step(name: str, step: dict[str, Any]) -> str:
    verdict = "fits" if step["fits"] else "DOES NOT FIT"
    rows = [
        ("arguments", f"{step['argument_bytes'] / 1e9:.2f} GB"),
        ("temporaries", f"{step['temporary_bytes'] / 1e9:.2f} GB"),
        ("code, and results beyond the arguments", _rest(step)),
        (
            f"together: {verdict}",
            f"{step['peak_bytes'] / 1e9:.2f} of {step['chip_bytes'] / 1e9:.0f} GB",
        ),
        ("FLOPs of the model, all chips", f"{step['model_flops']:.3g}"),
        ("matrix products of the program, all chips", f"{step['program_flops']:.3g}"),
        ("XLA's count, a chip, loops once", f"{step['xla_flops_a_chip']:.3g}"),
        ("HBM traffic", f"{step['hbm_bytes'] / 1e9:.1f} GB"),
        *(
            (f"{kind}, {one['times']} times", f"{one['bytes'] / 1e9:.2f} GB sent")
            for kind, one in step["collectives"].items()
        ),
        *(
            (f"time for {wall} alone", f"{step[f'{wall}_seconds'] * 1e3:.1f} ms")
            for wall in ("compute", "memory", "links")
        ),
    ]
    lines = [f"| {name}, a chip and step | |", "|---|---:|"]
    lines += [f"| {what} | {value} |" for what, value in rows]
    best = f"{step['seconds_a_step']:.3g} s a step, MFU {step['mfu_at_best']:.0%}"
    lines += ["", f"Bound by {step['bound']}: at best {best}."]
    if step["open_loops"]:
        lines.append(
            f"{step['open_loops']} loops, whose length is known only as they run, "
            "count once."
        )
    if "chip_hours" in step:
        lines.append(f"{step['steps']:,} steps: {step['chip_hours']:,.1f} chip-hours.")
    return "\n".join([*lines, f"Compiled in {step['compile_seconds']:.0f} s."])


def _rest(step: dict[str, Any]) -> str:
    return f"{(step['code_bytes'] + step['output_bytes']) / 1e9:.2f} GB"


def of_search(plan: dict[str, Any]) -> str:
    """Of `search.plan`."""
    lines = [
        f"{plan['chunks']:,} rows of {plan['width']} fit {plan['topology']}.",
        "",
        f"| a chip of {plan['chips']} | |",
        "|---|---:|",
        f"| rows and queries | {plan['argument_bytes'] / 1e9:.2f} GB |",
        f"| temporaries | {plan['temporary_bytes'] / 1e9:.2f} GB |",
        f"| together | {plan['peak_bytes'] / 1e9:.2f} of "
        f"{plan['chip_bytes'] / 1e9:.0f} GB |",
    ]
    lines += [
        f"| {name}, a batch | {plan[name + '_seconds'] * 1e3:.2f} ms |"
        for name in ("memory", "arithmetic", "links")
    ]
    lines += [
        "",
        f"Bound by {plan['bound']}: at most {plan['queries_a_second']:,.0f} queries/s.",
        f"Compiled in {plan['compile_seconds']:.0f} s.",
    ]
    return "\n".join(lines)
