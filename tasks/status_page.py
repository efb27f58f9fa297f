"""The status page: HTML, JSON and RSS, written anew at every change (R-RESP-8).

It says what the journals say, in the words of `tasks.messages` for people outside: no host, path or person.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from blocks import durable
from blocks.home import home
from blocks.journals.base import JournalStore
from model.canonical import canonical_json, now
from model.command import printable
from model.communication import Language
from model.errors import BadInput, ReinstateError
from model.incident import Incident, Kind
from model.informing import occasions
from model.journal import Record, fold
from model.messages import Moment
from model.outcome import RunVerdict
from model.plan import Plan
from model.status_page import Health, ShownIncident, Status, StatusPage, Update, health_of
from tasks.message_words import MARKS, STEPS
from tasks.messages import clock, doing, public_text
from tasks.status_words import WORDS
from tasks.work import PlanFile

PUBLIC = frozenset(
    {
        Moment.OPENED, Moment.CONFIRMED, Moment.DECIDED, Moment.IMPACT_CHANGED, Moment.RECOVERED, Moment.ENDED,
    }
)  # fmt: skip
"""Moments that everybody may know of; who signs what is nobody else's business."""


Memory = dict[str, ShownIncident | None]
"""What incidents that have ended look like, so that their journals are not read again and again."""


def read_status(file: PlanFile, store: JournalStore, at: datetime, memory: Memory | None = None) -> Status:
    """What the page of a plan says now.

    Args:
        file: the plan.
        store: the journal store.
        at: the present moment.
        memory: added to; for whoever looks again and again.

    Raises:
        BadInput: the plan has no status page.
    """
    rule, plan = _rule(file), file.plan
    since = at - timedelta(days=rule.days)
    shown: list[ShownIncident] = []
    for ident in store.incidents():
        key = f"{file.digest}/{ident}"
        if memory is not None and key in memory:
            one = memory[key]
        else:
            try:
                records = store.read(ident)
            except ReinstateError:  # one damaged journal hides itself only; `reinstate incidents` tells it
                continue
            one = _shown(plan, rule, records)
            if memory is not None and any(record.payload.type == "reviewed" for record in records):
                memory[key] = one
        if one is not None and (one.ended is None or one.ended >= since):
            shown.append(one)
    incidents = tuple(sorted(shown, key=lambda one: (one.began, one.id), reverse=True))
    visible = tuple(one for one in incidents if one.updates)
    open_now = any(one.ended is None for one in visible)
    return Status(
        service=printable(plan.service.name), description=printable(plan.service.description), written=at,
        next_update=at + timedelta(seconds=rule.every) if open_now else None, health=_health(incidents, visible),
        incidents=visible,
    )  # fmt: skip


def _health(incidents: tuple[ShownIncident, ...], visible: tuple[ShownIncident, ...]) -> Health:
    """An incident that found nothing is not shown, and yet says that the service works."""
    return health_of(tuple(one for one in incidents if one.ended is not None or one in visible))


def page_folder(file: PlanFile) -> Path:
    """Where the files of a plan's page are.

    Raises:
        BadInput: the plan has no status page.
    """
    return file.path.parent / Path(_rule(file).folder).expanduser()


def _rule(file: PlanFile) -> StatusPage:
    if file.plan.status_page is None:
        raise BadInput(
            "the plan has no status page.",
            str(file.path),
            "add `status_page: {folder: …}`; see docs/status-page.md",
        )
    return file.plan.status_page


def _shown(plan: Plan, rule: StatusPage, records: Sequence[Record]) -> ShownIncident | None:
    """An incident of this plan as everybody may know it; without updates when nothing of it may be shown."""
    state = fold(records)
    incident = state.incident
    if incident is None or incident.plan != plan.name or not _counts(incident, rule):
        return None
    severity = state.confirmed.severity if state.confirmed else None
    ended = next((record.at for record in records if record.payload.type == "ended"), None)
    works = None
    if state.ended is not None:
        works = state.ended.verdict is RunVerdict.RECOVERED or (
            severity is None and state.confirmed is not None
        )
    hidden = rule.since == "confirmed" and severity is None
    return ShownIncident(
        id=incident.id, kind=incident.kind, began=incident.detected_at, ended=ended,
        level=str(severity.level) if severity else "", doing=doing(state), works=works,
        updates=() if hidden else _updates(plan, incident, rule.languages, records),
    )  # fmt: skip


def _counts(incident: Incident, rule: StatusPage) -> bool:
    return incident.kind is Kind.REAL or (rule.drills and incident.kind is Kind.DRILL)


def _updates(
    plan: Plan, incident: Incident, languages: Sequence[Language], records: Sequence[Record]
) -> tuple[Update, ...]:
    found = []
    for one in occasions(records):
        if one.moment not in PUBLIC:
            continue
        texts = {
            language: public_text(plan, incident, records[: one.seq], one.moment, language, one.at)
            for language in dict.fromkeys(languages)
        }
        found.append(
            Update(
                moment=one.moment, at=one.at, subject={k: subject for k, (subject, _) in texts.items()},
                text={k: text for k, (_, text) in texts.items()},
            )
        )  # fmt: skip
    return tuple(reversed(found))


def write_status_page(
    file: PlanFile, store: JournalStore, at: datetime | None = None, memory: Memory | None = None
) -> Path | None:
    """Write the page's files, if what they say has changed or is due; each is replaced as a whole.

    Args:
        file: the plan.
        store: the journal store.
        at: the present moment; default: now.
        memory: see `read_status`.

    Returns:
        The folder, or None when what is there is right.

    Raises:
        BadInput: the plan has no status page.
        PreconditionFailed: the folder cannot be written; what was there stands.
    """
    rule, at = _rule(file), at or now()
    folder = page_folder(file)
    with durable.locked(durable.make_folder(home() / "locks") / f"{file.plan.name}.status.lock"):
        status = read_status(file, store, at, memory)
        if _is_right(folder, status, at):
            return None
        with durable.explained(folder):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            spool = folder / ".new"
            spool.mkdir(mode=0o700, exist_ok=True)
        durable.sweep(spool)
        for name, data in _files(rule, status).items():
            durable.replace(folder / name, data, spool, mode=0o644)
    return folder


def _is_right(folder: Path, status: Status, at: datetime) -> bool:
    """Whether the page that is there says the same and is not overdue; `status.json` is written last."""
    there = durable.read(folder / "status.json")
    try:
        old = Status.model_validate_json(there or b"")
    except ValueError:
        return False
    if old.next_update is not None and at >= old.next_update:
        return False
    dates = {"written": at, "next_update": None}
    return old.model_copy(update=dates) == status.model_copy(update=dates)


def _files(rule: StatusPage, status: Status) -> dict[str, bytes]:
    languages = tuple(dict.fromkeys(rule.languages))
    pages = {
        language: "index.html" if language == languages[0] else f"{language}.html" for language in languages
    }
    feeds = {
        language: "feed.xml" if language == languages[0] else f"feed.{language}.xml" for language in languages
    }
    files: dict[str, bytes] = {}
    for language in languages:
        files[feeds[language]] = _feed(rule, status, language, pages[language])
        files[pages[language]] = _page(rule, status, language, pages, feeds)
    return files | {"status.json": canonical_json(status)}


def _page(
    rule: StatusPage,
    status: Status,
    language: Language,
    pages: dict[Language, str],
    feeds: dict[Language, str],
) -> bytes:
    environment = Environment(
        loader=PackageLoader("tasks", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    text = environment.get_template("status.html.j2").render(
        s=status, language=language, w=WORDS[language], steps=STEPS[language], marks=MARKS[language], pages=pages,
        feed=feeds[language], clock=clock, days=rule.days,
    )  # fmt: skip
    return text.encode()


def _feed(rule: StatusPage, status: Status, language: Language, page: str) -> bytes:
    """RSS 2.0, newest first (https://www.rssboard.org/rss-specification)."""
    base = rule.url.rstrip("/") + "/" if rule.url else ""
    words = WORDS[language]
    rss = ElementTree.Element("rss", version="2.0")
    channel = ElementTree.SubElement(rss, "channel")
    for tag, text in (
        ("title", f"{status.service}: {words['title']}"), ("link", f"{base}{page}" if base else "about:blank"),
        ("description", status.description or words["title"]), ("language", {"zh": "zh-cn"}.get(language, language)),
        ("lastBuildDate", format_datetime(status.written)),
    ):  # fmt: skip
        ElementTree.SubElement(channel, tag).text = text
    told = sorted(
        ((update, one) for one in status.incidents for update in one.updates),
        key=lambda pair: pair[0].at, reverse=True,
    )  # fmt: skip
    for update, one in told[:100]:
        item = ElementTree.SubElement(channel, "item")
        mark = MARKS[language].get(one.kind, "")
        ElementTree.SubElement(item, "title").text = f"{mark} {update.subject[language]}".strip()
        if base:
            ElementTree.SubElement(item, "link").text = f"{base}{page}#{one.id}"
        guid = ElementTree.SubElement(item, "guid", isPermaLink="false")
        guid.text = f"{one.id}/{update.moment}/{update.at.isoformat()}"
        ElementTree.SubElement(item, "pubDate").text = format_datetime(update.at)
        ElementTree.SubElement(item, "description").text = update.text[language]
    ElementTree.indent(rss)
    document: bytes = ElementTree.tostring(rss, encoding="utf-8", xml_declaration=True)
    return document
