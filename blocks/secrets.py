"""Where secrets come from: the plan holds references, and this is the only place that follows them (G9)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import Secret, SecretStr

from model.errors import BadInput, PreconditionFailed, Transient

_FORMS = "`env:NAME`, `file:PATH` or `block:TYPE/NAME`"


class Secrets:
    """Follows secret references. Its errors name the reference, never the value.

    Args:
        base: the folder of the plan file; relative paths begin there.
    """

    def __init__(self, base: Path) -> None:
        self._base = base

    def resolve(self, ref: str) -> str:
        """The secret a reference leads to; one trailing newline is not part of it.

        Args:
            ref: `env:NAME`, `file:PATH` (relative to the plan's folder, or `~/…`) or `block:TYPE/NAME`.

        Raises:
            BadInput: the reference is malformed, leads to nothing, or to an empty value.
            PreconditionFailed: the file is readable by everybody, or a block is wanted without a Prefect server.
            Transient: the Prefect server does not answer.
        """
        kind, _, rest = ref.partition(":")
        follow = {"env": self._env, "file": self._file, "block": self._block}.get(kind)
        if follow is None or not rest:
            raise BadInput("this is not a secret reference.", "a secret of the plan", f"Write {_FORMS}.")
        value = follow(rest, ref).removesuffix("\n").removesuffix("\r")
        if not value:
            raise BadInput("the secret is empty.", ref, "Put the value where the reference leads.")
        return value

    def _env(self, name: str, ref: str) -> str:
        if name not in os.environ:
            raise BadInput(
                f"the environment variable {name} is not set.",
                ref,
                f"Set {name} for every process of Reinstate.",
            )
        return os.environ[name]

    def _file(self, name: str, ref: str) -> str:
        path = self._base / Path(name).expanduser()
        try:
            if path.stat().st_mode & stat.S_IROTH:
                raise PreconditionFailed(
                    "the secret's file can be read by every user.", ref, f"chmod 600 {path}"
                )
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise BadInput(
                f"the file {path} cannot be read: {error.strerror}.",
                ref,
                "Correct the path, or put the secret there.",
            ) from error
        except UnicodeDecodeError:
            raise BadInput(
                f"the file {path} is not text.", ref, "Point the reference to the right file."
            ) from None

    def _block(self, name: str, ref: str) -> str:
        # Here, because a plan without such references must not need Prefect at all.
        import httpx
        from prefect.blocks.core import Block
        from prefect.settings import PREFECT_API_URL

        if not PREFECT_API_URL.value():
            raise PreconditionFailed(
                "a block reference needs a Prefect server, and none is set.",
                ref,
                "Set PREFECT_API_URL, or use an `env:` or `file:` reference, which also work when the server is down.",
            )
        try:
            block = Block.load(name, _sync=True)  # type: ignore[call-arg] # Prefect's dispatcher takes it
        except ValueError as error:
            raise BadInput(
                "there is no such block.", ref, "Create it in Prefect, or correct its name."
            ) from error
        except httpx.HTTPError as error:
            raise Transient(
                f"the Prefect server does not answer ({type(error).__name__}).", ref, "This is tried again."
            ) from error
        return _only_secret(block, ref)


def _only_secret(block: object, ref: str) -> str:
    """The one secret field of a block, untouched: `Secret.get` would turn the text `0123` into a number."""
    fields = {name: getattr(block, name, None) for name in getattr(type(block), "model_fields", ())}
    found = {name: value for name, value in fields.items() if isinstance(value, (Secret, SecretStr))}
    if len(found) != 1:
        raise BadInput(
            f"the block has {len(found)} secret fields; exactly one is needed.",
            ref,
            "Use a block of type Secret.",
        )
    value = next(iter(found.values())).get_secret_value()
    if not isinstance(value, str):
        raise BadInput("the block's secret is not text.", ref, "Store it as text.")
    return value
