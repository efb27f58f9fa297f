"""A first plan from a few answers: commented, right, and small enough to be read before it is trusted."""

from __future__ import annotations

import json
import re

from jinja2 import Environment, StrictUndefined

from model.canonical import Value

_TEMPLATE = """\
# The emergency plan of {{ service|comment }}. Written by `reinstate plan init`; from here on it is yours.
#
#   reinstate plan check {{ file|comment }}
#
# `plan check` names every mistake with its line, and what is still missing. All keys: docs/plan.md of Reinstate;
# plans/sample.yaml shows each of them once. Durations are seconds, or 30s, 10m, 4h, 1d.
# No secret stands in a plan, only where it lives: `env:NAME`, `file:PATH` (beside the plan) or `block:TYPE/NAME`.

reinstate: 1
name: {{ name|yaml }}
version: "1"            # raise it with every change; each incident records the version it followed

service:
  name: {{ service|yaml }}
  owner: {{ people[0].id|yaml }}

# --- who ----------------------------------------------------------------------------------------------------------

people:
{%- for one in people %}
  {{ one.id }}:
    name: {{ one.name|yaml }}
    email: {{ one.email|yaml }}
    totp: file:secrets/totp-{{ one.id }}    # base32 secret of one-time codes, chmod 600; or `ssh_keys`
{%- endfor %}

roles:
  leading_group: [{{ ids }}]    # decides and accepts; whoever reports an incident may not sign it
  working_group: [{{ people[0].id|yaml }}]    # carries it out

signoff:
  decide: {roles: [leading_group], quorum: 1}    # raise `quorum` as soon as there are people for it
  accept: {roles: [leading_group], quorum: 1}

objectives:             # the report compares these with what was measured
  rto: {{ rto|yaml }}
  rpo: {{ rpo|yaml }}

# --- where --------------------------------------------------------------------------------------------------------

hosts:
  {{ host }}:
    address: {{ address|yaml }}
    user: {{ user|yaml }}
    sudo: {{ "false" if user == "root" else "true" }}
    key: file:secrets/ssh-key    # private key without passphrase, chmod 600
    host_key: {{ host_key|yaml }}
    machine_id: {{ machine_id|yaml }}

backups:
  local:
    kind: directory    # of this machine; better one elsewhere: s3, restic, borg, pgbackrest, tree
    path: backups

# --- what can be damaged, and how it comes back --------------------------------------------------------------------

assets:
  system:
    kind: system    # disks, clock, certificates, units, accounts
    host: {{ host }}

  files:
    kind: files
    role: data
    host: {{ host }}
    path: {{ path|yaml }}
    backup: local
    # reimport: What users do to enter again what no backup holds.

  # packages:
  #   kind: dpkg       # or rpm, pip
  #   host: {{ host }}

  # application:
  #   kind: service
  #   host: {{ host }}
  #   unit: my-application.service

# --- what proves that it works again -------------------------------------------------------------------------------

# checks:
#   probes:
#     - {name: front-page, url: "https://www.example.org/", contains: Welcome}

back_up: {schedule: "0 2 * * *"}
verification: {schedule: "0 4 * * 0"}    # restores a recovery point into a sandbox and checks it
scan: {schedule: "0 * * * *"}
"""


class Someone(Value):
    """A person who leads: id in the plan, name, mail address."""

    id: str
    name: str
    email: str


class Answers(Value):
    """What `plan init` asks; checked by the plan they make, not here."""

    file: str
    name: str
    service: str
    people: tuple[Someone, ...]
    host: str
    address: str
    user: str
    host_key: str
    machine_id: str
    path: str
    rto: str
    rpo: str


def new_plan(answers: Answers) -> str:
    """The text of a plan. It may be wrong where an answer is: read it with `model.planfile.read_plan`."""
    jinja = Environment(  # noqa: S701 - YAML, not HTML; every answer goes through `yaml` or `comment`
        undefined=StrictUndefined, keep_trailing_newline=True
    )
    jinja.filters.update(yaml=_yaml, comment=_comment)
    ids = ", ".join(_yaml(one.id) for one in answers.people)
    return str(jinja.from_string(_TEMPLATE).render(**dict(answers), ids=ids))


def id_of(name: str) -> str:
    """An id made from a person's name: its first word, in small letters; `lead` when it has no Latin letter."""
    word = re.search(r"[a-z][a-z0-9]*", name.lower())
    return word[0] if word else "lead"


def _comment(text: str) -> str:
    """A text within a comment: on one line, whatever it holds."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _yaml(text: str) -> str:
    """A text as a YAML scalar, quoted unless it is plain and stays a text when read."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_./@-]*", text) and text.lower() not in _WORDS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in quoted)


_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
