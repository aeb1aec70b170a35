"""The report: one HTML file that opens without a network.

Text of questions, passages and answers is hostile until escaped: the template escapes
everything, the page's one script makes nothing of it but text nodes, and a
Content-Security-Policy, which knows that script by its hash, forbids any other.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources

import jinja2
from etils import epath
from markupsafe import Markup

from radit_jax.evaluation import findings, items, probe_views, systems, views


def write_report(
    path: epath.PathLike,
    results: dict,
    curves: Mapping[str, Sequence[dict]],
    shown: Sequence[dict],
    stages: Sequence[dict],
    environment: Mapping[str, object],
    browsed: Sequence[dict] = (),
) -> None:
    """Writes `report.html`; whatever a run lacks is named there as not run.

    Args:
      path: the file to write.
      results: as in `results.json`: `systems`, `retriever`, `differences`,
        `num_questions`, `num_chunks`; optional `retriever_difference`. Scores are in
        percent, MRR from 0 to 1.
      curves: training name ("lm/ra_it", "lm/it", "retriever") to records with `step`
        and any of `loss`, `validation_loss`, `validation_mrr`, `entropy_p_lsr` and
        `entropy_p_r` (nats).
      shown: questions drawn in full, with `passages` and `systems`.
      stages: `stage`, `seconds` (None: not run), `counts`, `output`, `note`.
      environment: name to value; mappings are drawn as indented JSON.
      browsed: all questions, as `shown`, for the reader to choose from.
    """
    script = resources.files("radit_jax.evaluation").joinpath("items.js").read_text()
    page = (
        template_environment()
        .get_template("report.html.jinja")
        .render(
            headline=findings.headline(results),
            decomposition=findings.decomposition(results),
            brevity=findings.brevity(results),
            findings=findings.findings(results),
            results=results,
            systems=views.systems_view(results),
            differences=views.differences_view(results),
            retriever=views.retriever_view(results),
            curves=views.curves_view(curves),
            questions=[views.question_view(question) for question in shown],
            stages=views.stages_view(stages),
            environment=views.environment_view(environment),
            gold=probe_views.gold_view(results),
            probes=probe_views.probes_view(results),
            cost=probe_views.cost_view(results),
            script=Markup(script),
            script_hash=_script_hash(script),
            **_browser(browsed),
            metrics=views.METRICS,
            date=environment.get("date", ""),
        )
    )
    # A lone surrogate can come out of a tokenizer; UTF-8 has no bytes for it.
    epath.Path(path).write_bytes(page.encode("utf-8", "replace"))


def _browser(browsed: Sequence[dict]) -> dict[str, object]:
    """What `items.html.jinja` draws."""
    encoded = items.encode(browsed) if browsed else ""
    document = json.loads(encoded) if encoded else {"items": [], "cut": 0}
    pairs = [
        [systems.SYSTEM_NAMES[c.with_it], systems.SYSTEM_NAMES[c.without_it]]
        for c in systems.COMPARISONS
    ]
    return {
        "items": Markup(encoded),
        "num_asked": len(browsed),
        "num_kept": len(document["items"]),
        "cut": document["cut"],
        "pairs": json.dumps(pairs),
    }


def _script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def template_environment() -> jinja2.Environment:
    """For this folder's templates: everything is escaped, nothing may be undefined."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("radit_jax.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = findings.signed
    environment.filters["duration"] = duration
    return environment


def duration(seconds: float | None) -> str:
    """Seconds for a reader, for example 75 as "1 min 15 s"."""
    if seconds is None:
        return "not run"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
