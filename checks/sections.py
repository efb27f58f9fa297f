"""Named sections in a script's output: a NUL before and after each name, `end` as the last of them."""

from __future__ import annotations

from model.errors import PreconditionFailed


def sections(output: bytes, what: str, where: str, remedy: str) -> dict[str, str]:
    """The sections by name.

    Args:
        output: what the script printed; bytes that are not UTF-8 become surrogate escapes.
        what: was read, for people: `the rpm database`.
        where: the host.
        remedy: what to do about an answer that is not whole.

    Raises:
        PreconditionFailed: the answer is not whole.
    """
    pieces = output.decode("utf-8", "surrogateescape").split("\0")
    found = dict(zip(pieces[1::2], pieces[2::2], strict=False))
    if "end" not in found:
        raise PreconditionFailed(f"the answer about {what} was cut off or holds NUL bytes.", where, remedy)
    return found
