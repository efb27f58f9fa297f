"""The Debian archive this machine uses, read from its own apt configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

APT_DIRECTORY = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
_ONE_LINE = re.compile(
    r"^deb(?:\s+\[(?P<options>[^\]]*)\])?\s+(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$"
)
# Third-party archives reuse the code name; only the distribution's own suites have these names and a `main`.
_OWN_POCKETS = ("", "-updates", "-security")


@dataclass(frozen=True, slots=True)
class AptSource:
    """One suite of one archive.

    Attributes:
        uri: Where the archive is.
        suite: Distribution name as apt spells it, for example `stable-security`.
        components: Parts of the archive, for example `("main",)`.
        signed_by: Path of the keyring that signs it, or an empty string.
    """

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    def line(self) -> str:
        """Return the one-line form that every apt understands."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {self.suite} {' '.join(self.components)}"


def codename(os_release: Path = OS_RELEASE) -> str:
    """Return the code name of the distribution that runs here, or an empty string when it has none."""
    if not os_release.is_file():
        return ""
    found = re.search(
        r'^VERSION_CODENAME="?([a-z]+)"?$', os_release.read_text(encoding="utf-8"), re.MULTILINE
    )
    return found[1] if found else ""


def own_sources(suite: str, directory: Path = APT_DIRECTORY) -> list[AptSource]:
    """Return the distribution's own suites among the machine's apt sources.

    Args:
        suite: Code name, as `codename` returns it.
        directory: apt's configuration directory.

    Returns:
        The release itself first, then its update and security suites; empty when none is configured.
    """
    wanted = [suite + pocket for pocket in _OWN_POCKETS]
    found = [
        source
        for source in _all_sources(directory)
        if source.suite in wanted and "main" in source.components and source.uri.startswith(("http", "file:"))
    ]
    return sorted(dict.fromkeys(found), key=lambda source: wanted.index(source.suite))


def _all_sources(directory: Path) -> Iterator[AptSource]:
    parts = directory / "sources.list.d"
    for path in [directory / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.is_file():
            yield from parse_one_line(path.read_text(encoding="utf-8"))
    for path in sorted(parts.glob("*.sources")):
        yield from parse_deb822(path.read_text(encoding="utf-8"))


def parse_one_line(text: str) -> Iterator[AptSource]:
    """Yield the binary archives of a `sources.list`; other lines are ignored."""
    for raw in text.splitlines():
        match = _ONE_LINE.match(raw.split("#", 1)[0].strip())
        if match:
            options = dict(item.split("=", 1) for item in (match["options"] or "").split() if "=" in item)
            yield AptSource(
                match["uri"], match["suite"], tuple(match["components"].split()), options.get("signed-by", "")
            )


def parse_deb822(text: str) -> Iterator[AptSource]:
    """Yield the enabled binary archives of a deb822 `.sources` file, one for each address and suite."""
    for stanza in _stanzas(text):
        if (
            stanza.get("enabled", "yes").lower() in {"no", "false", "0"}
            or "deb" not in stanza.get("types", "").split()
        ):
            continue
        signed_by = stanza.get("signed-by", "")
        for uri in stanza.get("uris", "").split():
            for suite in stanza.get("suites", "").split():
                # A key given in full instead of by path cannot go into the one-line form.
                keyring = signed_by if signed_by.startswith("/") else ""
                yield AptSource(uri, suite, tuple(stanza.get("components", "").split()), keyring)


def _stanzas(text: str) -> Iterator[Mapping[str, str]]:
    fields: dict[str, str] = {}
    name = ""
    for raw in [*text.splitlines(), ""]:
        if raw.startswith("#"):
            continue
        if not raw.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif raw[0].isspace():
            fields[name] = f"{fields.get(name, '')} {raw.strip()}".strip()
        else:
            name, _, value = raw.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
