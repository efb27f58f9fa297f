"""Malware scanners of this machine, where the operator installed one: ClamAV or YARA look at the bytes of a backup."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.command import printable
from model.errors import PreconditionFailed

LIMIT = 64 << 20
"""Bytes of a backup that are looked at: ClamAV's own default limit is of that order."""

SECONDS = 600.0
_PROGRAMS = {"clamav": ("clamdscan", "clamscan"), "yara": ("yara",)}


@dataclass(frozen=True)
class Scanner:
    """A scanner.

    Attributes:
        kind: which.
        rules: YARA rules; ClamAV has its own.
    """

    kind: Literal["clamav", "yara"]
    rules: Path | None = None

    def look(self, chunks: Iterable[bytes]) -> str:
        """What the scanner calls the first bad thing in these bytes; empty when it finds none.

        Raises:
            PreconditionFailed: it is not installed, or ended with an error: that is not a pass (G11).
        """
        program = next((path for name in _PROGRAMS[self.kind] if (path := shutil.which(name))), None)
        if program is None or (self.kind == "yara" and (self.rules is None or not self.rules.is_file())):
            wanted = " or ".join(_PROGRAMS[self.kind]) if program is None else "the file of YARA rules"
            raise PreconditionFailed(
                f"{wanted} is not there.",
                "recovery_points.scanner",
                "install it on this machine, or set `scanner: none`",
            )
        with tempfile.NamedTemporaryFile(prefix="reinstate-scan-") as file:
            left = LIMIT
            for chunk in chunks:
                file.write(chunk[:left])
                left -= len(chunk)
                if left <= 0:
                    break
            file.flush()
            return self._run(program, file.name)

    def _run(self, program: str, path: str) -> str:
        if self.kind == "yara":
            words = [program, "--no-warnings", str(self.rules), path]
        else:
            own = ["--fdpass"] if program.endswith("clamdscan") else []
            words = [program, "--no-summary", "--stdout", *own, path]
        try:
            done = subprocess.run(
                words, capture_output=True, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise self._failed(program, "it took too long") from None
        said = done.stdout.decode("utf-8", "replace").strip()
        if self.kind == "yara" and done.returncode == 0:
            return printable(said.split(" ")[0])[:200]
        if self.kind == "clamav" and done.returncode in {0, 1}:
            return (
                printable(said.replace(path, "").removesuffix("FOUND").strip(": \n"))[:200]
                if done.returncode
                else ""
            )
        raise self._failed(program, printable((said or done.stderr.decode("utf-8", "replace")).strip())[:300])

    @staticmethod
    def _failed(program: str, said: str) -> PreconditionFailed:
        return PreconditionFailed(
            f"{Path(program).name} could not look at it: {said}.", "recovery_points.scanner",
            "look at the scanner on this machine, or set `scanner: none`",
        )  # fmt: skip
