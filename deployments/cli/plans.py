"""`reinstate plan …`."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from dataclasses import asdict
from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.new_plan import Answers, Someone, id_of, new_plan
from deployments.cli.output import JSON, emit, out, quiet_prefect, reported, say, show_table
from model.command import printable
from model.errors import BadInput, PreconditionFailed, Problem
from model.plan import Plan
from model.plan_diff import compare_plans, in_words
from model.plan_hints import hints
from model.planfile import line_of, plan_digest, read_plan

app = typer.Typer(no_args_is_help=True)
NOT_PUBLISHED = 10
"""Exit code of a publication that was denied or overtaken."""

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
    published = _published(plan.name, digest)
    result = {
        "plan": plan.name, "version": plan.version, "digest": digest, "problems": [],
        "hints": [asdict(one) for one in missing], "published": published,
    }  # fmt: skip

    def text() -> None:
        out(f"{file}: plan {plan.name} version {plan.version} is right ({digest[:12]}).")
        out(published)
        if missing:
            out("Still missing before you can rely on it:")
        for one in missing:
            out(f"  {one}")

    emit(result, as_json, text)


def _published(name: str, digest: str) -> str:
    """What the journal store says of a plan's text, in one sentence."""
    from blocks.home import home, open_store
    from tasks.versions import versions_of

    if not home().is_dir():
        return "Nothing was ever published here."
    try:
        found = versions_of(open_store(), name)
    except PreconditionFailed as error:
        return f"Whether it is published is not known: {error.what}"
    if not found:
        return "No version of it was ever published: any text of it is followed. `reinstate plan publish` changes that."
    if found[-1].digest == digest:
        return f"It is the published version {found[-1].number}."
    return (
        f"It is NOT the published version {found[-1].number} ({found[-1].digest[:12]}): a real incident follows it "
        f"only when two people break the glass. Compare: `reinstate plan diff {name}@{found[-1].number} FILE`."
    )


@app.command()
@reported
def publish(
    plan: Annotated[str, typer.Argument(help="A plan file, or the name of a registered plan.")] = "",
    proposed_by: Annotated[
        str, typer.Option("--by", help="Your id in the plan; who proposes may not sign.")
    ] = "",
    publication: Annotated[str, typer.Option(help="Go on with this publication.")] = "",
    local: Annotated[bool, typer.Option("--local", help="Run here, without any Prefect server.")] = False,
    as_json: JSON = False,
) -> None:
    """Publish a plan's present text as its next version, signed by the rule of the version before.

    Exit code with --local: 0 published, 3 while people must sign, 10 when it was not published.
    """
    from deployments.server.paths import running

    quiet_prefect()
    up = None if local else running()
    if up is None and not local:
        raise BadInput(
            "no `reinstate up` runs here.", "plan publish", "start `reinstate up PLAN`, or add `--local`"
        )
    if up is not None:
        from deployments.server.remote import start_publication

        url = start_publication(up.paths, plan, proposed_by, publication)
        emit({"flow_run": url}, as_json, lambda: out(f"The publication runs: {url}"))
        return
    from blocks.home import open_store
    from flows.publish_plan import publish_plan
    from model.incident import Source
    from tasks.publishing import open_publication
    from tasks.work import load_plan, open_work

    if not publication and plan and proposed_by:
        store = open_store()
        publication = open_publication(load_plan(plan, store), store, proposed_by, Source.CLI).incident.id
        say(f"Publication {publication} is open.")
    sentence = asyncio.run(publish_plan.fn(plan, proposed_by, publication, Source.CLI))
    done = open_work(publication).state().published
    emit({"publication": publication, "outcome": sentence}, as_json, lambda: out(sentence))
    if done is None or done.number is None:
        raise typer.Exit(NOT_PUBLISHED)


@app.command()
@reported
def versions(
    name: Annotated[str, typer.Argument(help="Name of a plan.", show_default=False)], as_json: JSON = False
) -> None:
    """List the published versions of a plan: when, by whom, signed by whom."""
    from blocks.home import open_store
    from tasks.versions import versions_of

    found = versions_of(open_store(), name)
    rows = [
        (one.number, one.version, one.digest[:12], f"{one.published_at:%Y-%m-%d %H:%M} UTC", one.proposed_by,
         ", ".join(f"{who.person} ({who.proof})" for who in one.signed), one.publication)
        for one in found
    ]  # fmt: skip
    columns = ("number", "version", "digest", "published", "proposed by", "signed by", "publication")

    def text() -> None:
        if not found:
            out(f"No version of plan {printable(name)} was ever published.")
        else:
            show_table(f"Published versions of {name}", columns, rows)

    emit([one.model_dump(mode="json", exclude={"text"}) for one in found], as_json, text)


@app.command()
@reported
def diff(
    before: Annotated[
        str, typer.Argument(help="The older version: a file, or NAME@NUMBER.", show_default=False)
    ],
    after: Annotated[str, typer.Argument(help="The newer version, likewise.", show_default=False)],
    as_json: JSON = False,
) -> None:
    """Compare two versions of a plan; what weakens it is said first. Exit code 2 when they differ.

    They are compared by what they mean: comments, order and defaults that are written out are no difference.
    """
    old, new = _version(before), _version(after)
    found = compare_plans(old, new)

    def text() -> None:
        for warning in found.warnings:
            out(f"Mind: {printable(warning)}")
        for one in found.changes:
            out(f"{one.path}: {one.word}")
            if one.before is not None:
                out(f"  - {printable(in_words(one.before))}")
            if one.after is not None:
                out(f"  + {printable(in_words(one.after))}")
        if not found.changes:
            out(f"{before} and {after} mean the same.")

    emit(found, as_json, text)
    if found.changes:
        raise typer.Exit(2)


def _version(reference: str) -> Plan:
    """The plan of a file, or a published version `NAME@NUMBER`."""
    named = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9_-]*)@([0-9]{1,6})", reference)
    if named is None or Path(reference).exists():
        return read(Path(reference))[0]
    from blocks.home import open_store
    from tasks.versions import versions_of

    found = versions_of(open_store(), named[1])
    number = int(named[2])
    if not 1 <= number <= len(found):
        raise BadInput(
            f"plan {named[1]} has {len(found)} published versions.", reference,
            f"see `reinstate plan versions {named[1]}`",
        )  # fmt: skip
    return read_plan(found[number - 1].text, reference)


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
