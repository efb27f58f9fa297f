"""A channel to people: one adapter for mail, SMS, telephone and chat, all spoken by Apprise (R-RESP-8, G9).

What Apprise does, seen in 1.13: `notify` answers True or False and never why; a request has 4 s to connect and 4 s
between two bytes, mail 15 s, and nothing limits the whole; `?retry=` sends again, `?optional=yes` calls every failure
a success, redirects are followed, pictures are linked from the network, several recipients fail one by one. At level
DEBUG it logs whole URLs. Here all of that is off, and the reason is read from words we know, never passed on.
"""

from __future__ import annotations

import contextvars
import logging
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from model.errors import BadInput, PreconditionFailed, Transient

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase

SECONDS = 30.0
"""So long one message may take; after that nobody waits for it, and whether it was sent is not known."""

PLACE = "{to}"
"""Where a person's address goes in the URL of a channel that reaches people."""

_NEVER_LEFT = re.compile(
    r"Connection refused|Name or service not known|NameResolution|name resolution|No address associated"
    r"|NewConnectionError|No route to host|Network is unreachable|ConnectTimeout"
    r"|Connection error while submitting email"
)
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed")
_HTTP = re.compile(r"error=([0-9]{3})\b")
_SMTP = re.compile(r"\(([45][0-9]{2}), b['\"]")
_BUSY = frozenset({429, 503})
"""HTTP: the service says that it did nothing and may be asked again."""


@dataclass(frozen=True)
class Answer:
    """What became of a message that left, or may have left.

    Attributes:
        result: `delivered`: the service took it; `unknown`: it may have been sent.
        sentence: how that is known; without any part of the URL.
    """

    result: Literal["delivered", "unknown"]
    sentence: str


@dataclass
class _Heard:
    """What Apprise said about one message, reduced to what we know the meaning of."""

    sent: int = 0
    never_left: bool = False
    untrusted: bool = False
    http: int = 0
    smtp: int = 0

    def hear(self, text: str) -> None:
        self.sent += text.startswith("Sent ")
        self.never_left = self.never_left or _NEVER_LEFT.search(text) is not None
        self.untrusted = self.untrusted or _UNTRUSTED.search(text) is not None
        self.http = int(found[1]) if (found := _HTTP.search(text)) else self.http
        self.smtp = int(found[1]) if (found := _SMTP.search(text)) else self.smtp


_HEARD: contextvars.ContextVar[_Heard | None] = contextvars.ContextVar("reinstate_heard", default=None)


class _Ear(logging.Filter):
    """Hears what is logged while one of our messages is sent, and lets none of it through: URLs are in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        heard = _HEARD.get()
        if heard is None:
            return record.levelno >= logging.INFO
        heard.hear(record.getMessage())
        return False


_EAR = _Ear()


def _listen() -> None:
    for name in ("apprise", "urllib3.connectionpool", "requests"):
        logger = logging.getLogger(name)
        logger.addFilter(_EAR)
        if name == "apprise":
            logger.setLevel(logging.DEBUG)  # the reason of a failure is only said there; see _Ear


@dataclass(frozen=True)
class Channel:
    """A channel of the plan, opened.

    Attributes:
        name: in the plan.
        url: its Apprise URL, a secret.
        ref: where the URL lives, for messages.
        personal: it reaches one person at a time.
    """

    name: str
    url: str = field(repr=False)
    ref: str
    personal: bool = False

    def __post_init__(self) -> None:
        """Check the URL without sending anything.

        Raises:
            BadInput: Apprise does not know it, or the place for the address is missing or too much.
        """
        if (PLACE in self.url) is not self.personal:
            wrong = (
                f"the URL has no {PLACE}: everything would go to one address."
                if self.personal
                else f"the URL has {PLACE}, and the plan does not say what the channel reaches."
            )
            remedy = f"write {PLACE} where the address goes, and `reaches: email` or `phone` in the plan"
            raise BadInput(wrong, f"channel {self.name} ({self.ref})", remedy)
        self._open("+49301234567" if self.personal else "")

    def send(self, subject: str, text: str, address: str = "") -> Answer:
        """Send a plain text, once.

        Args:
            subject: one line.
            text: the message.
            address: of the person; only where the channel is personal.

        Raises:
            Transient: it certainly was not delivered, and may be tried again.
            PreconditionFailed: it certainly was not delivered, and would not be a second time.
            BadInput: this address cannot stand in this URL.
        """
        from apprise import Apprise, NotifyFormat

        services = Apprise(asset=_asset())
        services.add(self._open(address))
        heard, answered = _Heard(), list[bool | None]()

        def notify() -> None:
            _HEARD.set(heard)
            answered.append(services.notify(body=text, title=subject, body_format=NotifyFormat.TEXT))

        begun = time.monotonic()
        sender = threading.Thread(
            target=contextvars.copy_context().run, args=(notify,), name=f"channel {self.name}", daemon=True
        )
        sender.start()
        sender.join(SECONDS)
        if sender.is_alive():
            return Answer("unknown", f"It did not end within {SECONDS:g} s.")
        if answered and answered[0]:
            return Answer("delivered", f"The service took it within {time.monotonic() - begun:.1f} s.")
        return self._failed(heard)

    def _failed(self, heard: _Heard) -> Answer:
        where, code = f"channel {self.name}", heard.smtp or heard.http
        if heard.sent:
            return Answer("unknown", "A part of it was sent, then the service refused the rest.")
        if heard.untrusted:
            raise PreconditionFailed(
                "the service's certificate is not trusted.", where, "correct the certificate or its authority"
            )
        if 400 <= heard.smtp < 500 or heard.http in _BUSY or (not code and heard.never_left):
            said = f"the service answered {code}." if code else "the service was not reached."
            raise Transient(said, where, "look at the service and at the network")
        if heard.smtp or 300 <= heard.http < 500:
            raise PreconditionFailed(
                f"the service refused it with {code}.", where, f"check the URL in {self.ref}: token, sender, address"
            )  # fmt: skip
        said = (
            f"The service answered {code}" if code else "The connection broke off, or the service refused it"
        )
        return Answer("unknown", f"{said}; whether it was sent is not known.")

    def _open(self, address: str) -> NotifyBase:
        from apprise import Apprise

        _listen()
        token = _HEARD.set(_Heard())  # a URL that cannot be read is logged, too
        try:
            service = Apprise.instantiate(
                self.url.replace(PLACE, quote(address, safe="")), asset=_asset(), suppress_exceptions=True
            )
        finally:
            _HEARD.reset(token)
        if service is None:
            raise BadInput(
                "Apprise does not know this URL.", f"channel {self.name} ({self.ref})",
                "write it as Apprise's documentation of that service says",
            )  # fmt: skip
        service.retry, service.optional = 0, False
        return service


def _asset() -> AppriseAsset:
    """What of Apprise's own ways is changed: nothing kept on disk, no redirects, no links to its pictures."""
    from apprise import AppriseAsset

    return AppriseAsset(
        app_id="Reinstate", app_desc="Reinstate", app_url="", image_url_mask="", image_url_logo="", theme="",
        async_mode=False, http_redirects=False, secure_logging=True, storage_mode="memory", default_service_retry=0,
        interpret_emojis=False, interpret_escapes=False, pgp_autogen=False, pem_autogen=False,
    )  # fmt: skip
