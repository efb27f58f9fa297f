"""Plans with one thing wrong each, made from the good plan: what must be said, and about which line."""

from __future__ import annotations

from .builders import KEY

STAGING = (
    f"{{address: 198.51.100.9, key: 'env:K', host_key: {KEY}, machine_id: fedcba9876543210fedcba9876543210}}"
)
"""A stand-in, as it is written in a plan."""

BAD: dict[str, tuple[str, str, str, str, str]] = {
    "unknown key": ("  soak: 30s", "  bogus: 30s", "bogus", "checks.bogus", "unknown key 'bogus'"),
    "typo": ("  soak: 30s", "  saok: 30s", "saok", "checks.saok", "did you mean 'soak'?"),
    "typo in an asset": (
        "unit: shop.service", "unti: shop.service", "unti", "assets.web.unti",
        "did you mean 'unit'?",
    ),
    "typo at the top": ("objectives:", "objective:", "objective:", "objective", "did you mean 'objectives'?"),
    "duplicate key": ("name: shop\n", "name: shop\nname: other\n", "name: other", "name", "stands twice"),
    "duplicate asset": (
        "  web: {kind", "  packages: {kind: service, unit: a, host: web-1}\n  web: {kind", "unit: a",
        "assets.packages", "stands twice",
    ),
    "missing key": ("  owner: ann\n", "", "service:", "service.owner", "is missing"),
    "missing key of an asset": (", unit: shop.service", "", "  web: {kind", "assets.web", "give `unit`, or all of"),
    "tag": ("name: The shop", "name: !!python/name:os.system x", "!!python", "", "tag"),
    "local tag": ("name: The shop", "name: !include x", "!include", "", "tag !include is not allowed"),
    "tag on a mapping": ("objectives: {", "objectives: !!map {", "objectives", "", "tag"),
    "anchor": ("name: The shop", "name: &a The shop", "&a", "", "anchors and aliases"),
    "alias": ("name: The shop", "name: *a", "*a", "", "anchors and aliases"),
    "merge key": ("  soak: 30s", "  <<: {soak: 30s}", "<<", "checks.<<", "unknown key '<<'"),
    "complex key": ("  soak: 30s", "  ? [a, b]\n  : 1", "? [a", "checks", "a key is not a word"),
    "not YAML": ("  soak: 30s", "  soak: [30s", "probes:", "", "not valid YAML"),
    "tabulator": ("  soak: 30s", "\tsoak: 30s", "soak", "", "not valid YAML"),
    "second document": ("name: shop\n", "name: shop\n---\n", "---", "", "not valid YAML"),
    "control character": ("The shop", "The \x1b[31mshop", "  name: The", "", "U+001B"),
    "text where a mapping belongs": (
        "objectives: {rto: 4h, rpo: 1d}", "objectives: soon", "objectives", "objectives",
        "",
    ),
    "list where a mapping belongs": ("hosts:\n", "hosts: []\nh:\n", "hosts", "hosts", "dictionary"),
    "number where a text belongs": ('version: "1.0"', "version: 1.0", "version", "version", "in quotes"),
    "unknown owner": ("owner: ann", "owner: eve", "owner", "service.owner", "person 'eve' is not defined"),
    "unknown member": ("[dan]", "[dan, eve]", "working_group", "roles.working_group", "person 'eve'"),
    "empty role": ("[dan]", "[]", "working_group", "roles.working_group", "at least 1"),
    "unknown role": (
        "roles: [leading_group]", "roles: [leaders]", "decide:", "signoff.decide.roles.0",
        "leading_group",
    ),
    "unknown host": (
        "kind: dpkg, host: web-1", "kind: dpkg, host: web-2", "web-2", "assets.packages.host",
        "defined: web-1",
    ),
    "unknown backup": ("/srv/shop, backup: tree", "/srv/shop, backup: tape", "tape", "assets.files.backup", "'tape'"),
    "unknown store": ("store: wheels", "store: eggs", "eggs", "assets.library.store", "package store 'eggs'"),
    "unknown service": ("service: web", "service: webb", "webb", "assets.database.service", "service asset 'webb'"),
    "service of another kind": (
        "service: web", "service: files", "service: files", "assets.database.service",
        "defined: web",
    ),
    "unknown dependency": (
        "depends_on: [packages]", "depends_on: [x]", "[x]", "assets.files.depends_on",
        "asset 'x'",
    ),
    "dependency on itself": (
        "kind: dpkg, host: web-1", "kind: dpkg, host: web-1, depends_on: [packages]", "kind: dpkg",
        "assets.packages.depends_on", "depends on itself",
    ),
    "unknown host of a probe": (
        "from_host: web-1", "from_host: web-9", "web-9", "checks.probes.0.from_host",
        "'web-9'",
    ),
    "table of no database": (
        "database: database", "database: files", "database: files", "checks.tables.0.database",
        "database asset 'files'",
    ),
    "impossible quorum": (
        "quorum: 2", "quorum: 4", "quorum: 4", "signoff.decide.quorum",
        "needs 4 people, the roles have 3",
    ),
    "quorum of none": ("quorum: 2", "quorum: 0", "quorum: 0", "signoff.decide.quorum", "greater than or equal to 1"),
    "duration without a unit": ("soak: 30s", 'soak: "30"', "soak", "checks.soak", "30s, 10m, 4h or 1d"),
    "duration with a wrong unit": ("soak: 30s", "soak: 30w", "soak", "checks.soak", "30s, 10m, 4h or 1d"),
    "negative duration": ("soak: 30s", "soak: -30", "soak", "checks.soak", "greater than or equal to 0"),
    "negative duration with a unit": ("soak: 30s", "soak: -30s", "soak", "checks.soak", "give a duration"),
    "infinite duration": ("soak: 30s", "soak: .inf", "soak", "checks.soak", "give a duration"),
    "a duration beyond any number": ("soak: 30s", "soak: 1e999", "soak", "checks.soak", "give a duration"),
    "true as a duration": ("soak: 30s", "soak: true", "soak", "checks.soak", "give a duration"),
    "arabic digits": ("soak: 30s", "soak: \u0663\u0660s", "soak", "checks.soak", "give a duration"),
    "no duration": ("soak: 30s", "soak:", "soak", "checks.soak", "number"),
    "host key is a word": (f"host_key: {KEY}", "host_key: trust-me", "trust-me", "hosts.web-1.host_key", "one line"),
    "host key cut": (f"host_key: {KEY}", f"host_key: {KEY[:-8]}", "host_key", "hosts.web-1.host_key", "one line"),
    "host key of another kind": (
        f"host_key: {KEY}", f"host_key: {KEY.replace('ssh-ed25519', 'ssh-rsa')}", "host_key",
        "hosts.web-1.host_key", "",
    ),
    "host key is a private key": (
        f"host_key: {KEY}", "host_key: -----BEGIN OPENSSH PRIVATE KEY-----", "host_key", "hosts.web-1.host_key", "",
    ),
    "ssh key of a person": (f'["{KEY}"]', '["ssh-ed25519 AAAA"]', "AAAA", "people.bob.ssh_keys.0", "one line"),
    "machine id too short": (
        "0123456789abcdef0123456789abcdef", "0123", '"0123"', "hosts.web-1.machine_id",
        "pattern",
    ),
    "machine id read as a number": (
        '"0123456789abcdef0123456789abcdef"', "01234567890123456789012345678901", "machine_id",
        "hosts.web-1.machine_id", "in quotes",
    ),
    "secret instead of a reference": ("totp: env:ANN", "totp: JBSWY3DP", "ann: {", "people.ann.totp", "pattern"),
    "relative path": ("path: /srv/shop", "path: srv/shop", "srv/shop", "assets.files.path", "absolute"),
    "path that climbs": ("path: /srv/shop", "path: /srv/../etc", "../etc", "assets.files.path", "absolute"),
    "address like an option": ("192.0.2.10\n", "-oProxyCommand=x\n", "-oProxy", "hosts.web-1.address", "pattern"),
    "unit like an option": ("shop.service", "--now", "--now", "assets.web.unit", "pattern"),
    "name with capitals": ("  files: {", "  Files: {", "  Files: {", "assets.Files", "pattern"),
    "unknown kind of asset": ("kind: pip", "kind: gem", "kind: gem", "assets.library", "'gem'"),
    "unknown kind of backup": ("tree: {kind: directory", "tree: {kind: tape", "tape", "backups.tree", "'tape'"),
    "half a service": ("unit: shop.service", "start: [a]", "  web:", "assets.web", "all of `start`, `stop`"),
    "shell line instead of words": (
        "unit: shop.service", "start: sudo x, stop: [a], status: [b]", "sudo x", "assets.web.start", "tuple",
    ),
    "sandbox on a production host": (
        "signoff:", "verification: {host: web-1}\nsignoff:", "verification:", "verification.host",
        "'web-1' is a production host; a sandbox is on staging",
    ),
    "sandbox on an unknown host": (
        "signoff:", "verification: {host: web-9}\nsignoff:", "verification:", "verification.host", "defined: web-1",
    ),
    "matrix with a gap": (
        "signoff:", "severity: {slight: {part: I, service: I, several: I}, serious: {part: I}, total: {}}\nsignoff:",
        "severity", "severity.serious", "no level for service, several",
    ),
    "matrix with a wrong level": (
        "signoff:", "severity: {slight: {part: V}}\nsignoff:", "part: V", "severity.slight.part",
        "'I'",
    ),
    "channel's URL in the plan": (
        "url: env:ROOM_URL", "url: slack://token-a/token-b", "slack", "communication.channels.room.url", "pattern",
    ),
    "unknown channel of the order": (
        "fall_back: [mail, room]", "fall_back: [mail, fax]", "fall_back", "communication.fall_back",
        "channel 'fax' is not defined; defined: mail, room",
    ),
    "no order of channels": ("fall_back: [mail, room]", "fall_back: []", "fall_back", "communication.fall_back", "1"),
    "member who is nobody": (
        "members: [room]", "members: [eve]", "members: [eve]", "communication.audiences.users.members",
        "'eve' is neither a person nor a channel",
    ),
    "member that is a channel to people": (
        "members: [room]", "members: [mail]", "members: [mail]", "communication.audiences.users.members",
        "name the people",
    ),
    "audience of nobody": (
        "members: [room]", "members: []", "members: []", "communication.audiences.users.members", "",
    ),
    "unknown moment": (
        "moments: [opened, decided,", "moments: [open, decided,", "[open,", "communication.audiences.leaders.moments.0",
        "'opened'",
    ),
    "unknown language": (
        "language: zh", "language: fr", "language: fr", "communication.audiences.users.language", "'zh'",
    ),
    "progress every second": ("every: 10m", "every: 1s", "every", "communication.audiences.leaders.every", "60"),
    "template that is none": (
        "Down: {{ service }}", "Down: {{ service", "Down", "communication.audiences.users.templates.opened",
        "no Jinja template",
    ),
    "template with an unknown word": (
        "Down: {{ service }}", "Down: {{ hostname }}", "Down", "communication.audiences.users.templates.opened",
        "'hostname' is no word of a message",
    ),
    "template for a moment nobody is told at": (
        "templates: {opened:", "templates: {progress:", "templates", "communication.audiences.users.templates.progress",
        "add it to `moments`",
    ),
    "unknown way to reach people": (
        "reaches: email", "reaches: pigeon", "pigeon", "communication.channels.mail.reaches", "'email' or 'phone'",
    ),
    "readiness looked at too often": (
        "signoff:", 'readiness: {schedule: "*/10 * * * *"}\nsignoff:', "readiness:", "readiness.schedule",
        "10 minutes apart",
    ),
    "readiness by no cron line": (
        "signoff:", "readiness: {schedule: hourly}\nsignoff:", "readiness:", "readiness.schedule", "five fields",
    ),
    "readiness with a typo": (
        "signoff:", "readiness: {headroom: 1}\nsignoff:", "readiness:", "readiness.headroom",
        "did you mean 'head_room'?",
    ),
    "review by nobody": (
        "signoff:", "review: {owner: eve}\nsignoff:", "review:", "review.owner", "no person of the plan",
    ),
    "review by an empty role": (
        "signoff:", "review: {owner: logistics}\nsignoff:", "review:", "review.owner", "no role that somebody fills",
    ),
    "review never due": ("signoff:", "review: {due: soon}\nsignoff:", "review:", "review.due", "30s"),
    "review with a typo": (
        "signoff:", "review: {ownr: ann}\nsignoff:", "review:", "review.ownr", "did you mean 'owner'?",
    ),
    "stand-in of a host there is not": (
        "signoff:", f"drill: {{staging: {{wbe: {STAGING}}}}}\nsignoff:", "drill:", "drill.staging.wbe", "not defined",
    ),
    "stand-in that is production": (
        "signoff:", f"drill: {{staging: {{web-1: {STAGING[:-1]}, role: production}}}}}}\nsignoff:", "drill:",
        "drill.staging.web-1.role", "'staging'",
    ),
    "unknown kind of damage": (
        "signoff:", "drill: {faults: [gremlins]}\nsignoff:", "drill:", "drill.faults.0", "'package-file'",
    ),
    "drill of a probe there is not": (
        "signoff:", "drill: {probes: {pgae: 'http://a/'}}\nsignoff:", "drill:", "drill.probes.pgae", "not defined",
    ),
    "drill signed by nobody": (
        "signoff:", "drill: {sign_off: nobody}\nsignoff:", "drill:", "drill.sign_off", "'simulated'",
    ),
    "drill without faults": ("signoff:", "drill: {count: 0}\nsignoff:", "drill:", "drill.count", "1"),
    "mariabackup without a data directory": (
        "assets:\n",
        "assets:\n  rows: {kind: mariadb, host: web-1, database: a, backup: tree, service: web, method: mariabackup}\n",
        "rows:", "assets.rows.data_directory", "backed up by mariabackup needs it",
    ),
    "mariabackup without a service": (
        "assets:\n",
        "assets:\n  rows: {kind: mariadb, host: web-1, database: a, backup: tree, method: mariabackup, "
        "data_directory: /d}\n",
        "rows:", "assets.rows.service", "backed up by mariabackup needs it",
    ),
    "mariabackup into a tool's repository": (
        "package_stores:\n  wheels: {kind: directory, path: wheels}\nassets:\n",
        "  kept: {kind: restic, repository: /r, password: 'env:P'}\n"
        "package_stores:\n  wheels: {kind: directory, path: wheels}\nassets:\n"
        "  rows: {kind: mariadb, host: web-1, database: a, backup: kept, method: mariabackup, service: web, "
        "data_directory: /d}\n",
        "rows:", "assets.rows.backup", "restic keeps sets of files",
    ),
    "dump into a tool's repository": (
        "package_stores:\n  wheels: {kind: directory, path: wheels}\nassets:\n",
        "  kept: {kind: restic, repository: /r, password: 'env:P'}\n"
        "package_stores:\n  wheels: {kind: directory, path: wheels}\nassets:\n"
        "  rows: {kind: sqlite, host: web-1, path: /d, backup: kept}\n",
        "rows:", "assets.rows.backup", "kind s3 or directory",
    ),
    "mariabackup into a versioned tree": (
        "package_stores:\n  wheels: {kind: directory, path: wheels}\nassets:\n",
        "  kept: {kind: s3-tree, bucket: tree, access_key: 'env:A', secret_key: 'env:S'}\n"
        "package_stores:\n  wheels: {kind: directory, path: wheels}\nassets:\n"
        "  rows: {kind: mariadb, host: web-1, database: a, backup: kept, method: mariabackup, service: web, "
        "data_directory: /d}\n",
        "rows:", "assets.rows.backup", "s3-tree keeps sets of files",
    ),
    "another version of the format": ("reinstate: 1\n", "reinstate: 2\n", "reinstate", "reinstate", "1"),
}  # fmt: skip
"""Name → what is replaced, by what, words on the line at fault, dotted path, words of the problem or its remedy."""
