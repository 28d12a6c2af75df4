"""`tpvideo doctor`: look at machine and models, and say what to do where all is not well."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import click

from tpvideo.pipeline.finding import Finding

MARKS = {"ok": ("ok", "green"), "notice": ("notice", "yellow"), "failed": ("FAILED", "red")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this machine and the models, and run each model on one frame.

    Exits with 0 if the default model can run, else with 1.
    """
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            _show(finding)
    in_the_way = [f"{f.topic} {f.name}" for f in findings if f.is_needed and f.state == "failed"]
    if as_json:
        report = {
            "default_model_can_run": not in_the_way,
            "checks": [asdict(finding) for finding in findings],
        }
        click.echo(json.dumps(report, indent=1))
    elif in_the_way:
        click.echo(f"The default model cannot run: see {', '.join(in_the_way)}.")
    else:
        click.echo("The default model can run.")
    ctx.exit(1 if in_the_way else 0)


def examine() -> Iterator[Finding]:
    """Every finding, as soon as it is made."""
    python = f"{platform.python_version()}, {platform.platform()}, {sys.executable}"
    yield Finding("system", "python", "ok", python)
    try:
        from tpvideo.pipeline import doctor_machine, doctor_models
    except (ImportError, OSError) as error:  # OSError: a broken shared library
        said = str(error).splitlines()[0]
        again = "install tpvideo again: pip install --force-reinstall tpvideo"
        yield Finding("system", "libraries", "failed", said, again, is_needed=True)
        return
    for topic, findings in {
        "machine": doctor_machine.examine(),
        "models": doctor_models.examine(),
    }.items():
        yield from _guarded(topic, findings)


def _guarded(topic: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The same findings; a check that breaks becomes the last of them."""
    try:
        yield from findings
    except Exception as error:  # whatever ails this machine, the report must come out
        said = f"the check itself broke: {type(error).__name__}: {error}"
        fix = "report this with the line above"
        yield Finding(topic, "check", "failed", said, fix, is_needed=True)


def _show(finding: Finding) -> None:
    mark, colour = MARKS[finding.state]
    click.echo(
        f"{click.style(f'{mark:6}', fg=colour)}  {finding.topic:8} {finding.name:28} {finding.said}"
    )
    if finding.fix:
        click.echo(f"{'':18}-> {finding.fix}")
