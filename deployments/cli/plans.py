"""`reinstate plan …`."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import asdict
from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.new_plan import Answers, Someone, id_of, new_plan
from deployments.cli.output import JSON, emit, out, reported, show_table
from model.command import printable
from model.errors import BadInput, Problem
from model.plan import Plan
from model.plan_diff import compare_plans
from model.plan_hints import hints
from model.planfile import line_of, plan_digest, read_plan

app = typer.Typer(no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="The plan file.", show_default=False)]


def read(path: Path) -> tuple[Plan, str]:
    """A plan file's plan and digest.

    Raises:
        BadInput: it cannot be read. BadPlan: it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"the plan cannot be read: {error.strerror}.", where=str(path), remedy="check the path"
        ) from None
    except UnicodeDecodeError:
        raise BadInput("the plan is not UTF-8 text.", where=str(path), remedy="save it as UTF-8") from None
    return read_plan(text, str(path)), plan_digest(text)


@app.command()
@reported
def init(
    file: Annotated[Path, typer.Argument(help="Where to write the plan.", show_default=False)],
    *,
    service: Annotated[str, typer.Option(prompt="What does the plan protect", help="Name of the service.")],
    leader: Annotated[str, typer.Option(prompt="Who decides (name)", help="Name of a person who decides.")],
    email: Annotated[
        str, typer.Option(prompt="Mail address of that person", help="Mail address of the leader.")
    ],
    deputy: Annotated[
        str,
        typer.Option(prompt="Who else decides (name; empty: nobody)", help="A second person who decides."),
    ] = "",
    deputy_email: Annotated[
        str, typer.Option(help="Mail address of the deputy; asked for when there is one.")
    ] = "",
    address: Annotated[
        str,
        typer.Option(prompt="Address of the host", help="Name or IP address by which SSH reaches the host."),
    ] = "127.0.0.1",
    user: Annotated[
        str, typer.Option(prompt="Login there", help="The login; may use sudo unless root.")
    ] = "reinstate",
    host_key: Annotated[
        str,
        typer.Option(
            prompt="Its line of /etc/ssh/ssh_host_ed25519_key.pub",
            help="Host key, read on the host's own console.",
        ),
    ],
    machine_id: Annotated[
        str, typer.Option(prompt="Its /etc/machine-id", help="Machine-id, read on the host's own console.")
    ],
    path: Annotated[
        str, typer.Option(prompt="Folder of that host to protect", help="Absolute path of users' files.")
    ] = "/srv",
    rto: Annotated[str, typer.Option(prompt="Back within", help="Time until the service is back.")] = "4h",
    rpo: Annotated[
        str, typer.Option(prompt="Data lost at most", help="Age of the data that may be lost.")
    ] = "1d",
) -> None:
    """Write a first plan, commented, from a few answers. What is not given as an option is asked."""
    if file.exists():
        raise BadInput("this file exists already.", str(file), "give another name")
    if deputy and not deputy_email:
        deputy_email = typer.prompt(f"Mail address of {deputy}", err=True)
    leaders = [Someone(id=id_of(leader), name=leader, email=email)]
    if deputy:
        other = id_of(deputy)
        leaders.append(
            Someone(id=f"{other}2" if other == leaders[0].id else other, name=deputy, email=deputy_email)
        )
    text = new_plan(
        Answers(
            file=file.name, name=_name_of(service), service=service, people=tuple(leaders), host="main",
            address=address, user=user, host_key=host_key, machine_id=machine_id, path=path, rto=rto, rpo=rpo,
        )
    )  # fmt: skip
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except OSError as error:
        raise BadInput(f"it cannot be written: {error.strerror}.", str(file), "check the path") from None
    read(file)  # an answer that is wrong is corrected in the file: the others are not lost
    out(f"{file} is written. Next, beside it:")
    out("  mkdir -p -m 700 secrets && ssh-keygen -t ed25519 -N '' -f secrets/ssh-key")
    for one in leaders:
        out(f"  (umask 077; head -c 20 /dev/urandom | base32 > secrets/totp-{one.id})")
    out(f"  reinstate plan check {file}")


def _name_of(service: str) -> str:
    """A plan's name from a service's: small letters, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")[:63].strip("-") or "my-service"


@app.command()
@reported
def check(file: File, as_json: JSON = False) -> None:
    """Check a plan; every problem is named with its line and remedy, then what a right plan still lacks."""
    plan, digest = read(file)
    source = file.read_text(encoding="utf-8")
    missing = [Problem(line_of(source, one.path), one.path, one.what, one.remedy) for one in hints(plan)]
    result = {
        "plan": plan.name, "version": plan.version, "digest": digest, "problems": [],
        "hints": [asdict(one) for one in missing],
    }  # fmt: skip

    def text() -> None:
        out(f"{file}: plan {plan.name} version {plan.version} is right ({digest[:12]}).")
        if missing:
            out("Still missing before you can rely on it:")
        for one in missing:
            out(f"  {one}")

    emit(result, as_json, text)


@app.command()
@reported
def diff(
    before: Annotated[Path, typer.Argument(help="The older version.", show_default=False)],
    after: Annotated[Path, typer.Argument(help="The newer version.", show_default=False)],
    as_json: JSON = False,
) -> None:
    """Compare two versions of a plan; what weakens it is said first. Exit code 2 when they differ.

    They are compared by what they mean: comments, order and defaults that are written out are no difference.
    """
    (old, _), (new, _) = read(before), read(after)
    found = compare_plans(old, new)

    def text() -> None:
        for warning in found.warnings:
            out(f"Mind: {printable(warning)}")
        for one in found.changes:
            out(f"{one.path}: {one.word}")
            if one.before is not None:
                out(f"  - {_short(one.before)}")
            if one.after is not None:
                out(f"  + {_short(one.after)}")
        if not found.changes:
            out(f"{before} and {after} mean the same.")

    emit(found, as_json, text)
    if found.changes:
        raise typer.Exit(2)


def _short(value: object) -> str:
    """A value of a plan on one line: words as they are, what has parts as JSON."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return printable(", ".join(value) or "nothing")
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@app.command()
@reported
def schema() -> None:
    """Print the JSON Schema of plans, for editors."""
    out(json.dumps(Plan.model_json_schema(), indent=2))


@app.command()
@reported
def show(file: File, as_json: JSON = False) -> None:
    """Show what a plan protects, where, and who signs."""
    plan, digest = read(file)

    def text() -> None:
        out(f"{plan.service.name}: plan {plan.name} version {plan.version}, digest {digest[:12]}")
        assets = [
            (
                name,
                asset.kind,
                asset.host,
                getattr(asset, "backup", None) or getattr(asset, "store", None) or "–",
                ", ".join(asset.depends_on),
            )
            for name, asset in plan.assets.items()
        ]
        show_table("Assets", ("name", "kind", "host", "backup or store", "depends on"), assets)
        people = [(one, person.name, ", ".join(plan.roles.of(one))) for one, person in plan.people.items()]
        show_table("People", ("id", "name", "roles"), people)
        gates = (("decide", plan.signoff.decide), ("accept", plan.signoff.accept))
        rules = [(gate, ", ".join(rule.roles), rule.quorum) for gate, rule in gates]
        show_table("Sign-off", ("gate", "roles", "quorum"), rules)

    emit(plan, as_json, text)


@app.command()
@reported
def revise(
    file: File,
    incident: Annotated[str, typer.Option("--incident", help="Id of an ended incident.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Write the new version to this file; without it nothing is written.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Propose a new version of a plan from the lessons of an incident, as a unified diff.

    What was missed is set to what was measured; what only a person can decide stands as a comment above the version.
    """
    from blocks import durable
    from model.revision import revise as propose
    from tasks.work import open_work

    read(file)
    text = file.read_text(encoding="utf-8")
    revision = propose(text, str(file), open_work(incident).state())
    if output is not None:
        try:
            if output == file:  # all of the new text or all of the old one, whatever happens
                mode = stat.S_IMODE(file.stat().st_mode)
                durable.replace(file, revision.text.encode(), file.parent)
                file.chmod(mode)
            else:
                with output.open("x", encoding="utf-8") as new:
                    new.write(revision.text)
        except FileExistsError:
            raise BadInput("this file exists already.", str(output), "give another name") from None
        except OSError as error:
            raise BadInput(
                f"it cannot be written: {error.strerror}.", str(output), "check the path"
            ) from None
    name = str(output or file)
    lines = unified_diff(text.splitlines(), revision.text.splitlines(), str(file), name, lineterm="")
    emit(revision, as_json, lambda: out(printable("\n".join(lines))))
