"""The error tree: what a failure means for the run, and what the person reading it does next.

ReinstateError
├── Transient            try again: the same call may succeed later (network, lock held, 5xx)
├── Refused              policy or people said no; trying again changes nothing
│   └── Overtaken        another writer was first: read again and decide again
├── PreconditionFailed   a gate was not met; nothing was touched
│   ├── BadPlan          the plan file is wrong; carries every problem with its line
│   └── BadInput         an argument or a file given by a person is wrong
├── Damaged              backup, evidence, journal or hash is wrong: stop, keep everything
└── Unsupported          this system cannot do it, and says what can
"""

from __future__ import annotations

from dataclasses import dataclass


class ReinstateError(Exception):
    """Base of all errors of Reinstate.

    Attributes:
        what: one sentence, what happened.
        where: the host, file, line or object it happened to; empty when there is none.
        remedy: what a person does next.
    """

    code = "ERROR"
    exit_code = 1

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        """Keep the three parts; all positional, so the error survives pickling between processes."""
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        """Render `where: what Remedy: …` on one line."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head} Remedy: {self.remedy}" if self.remedy else head


class Transient(ReinstateError):
    """The same call may succeed later; tasks retry this class and no other."""

    code = "TRANSIENT"
    exit_code = 75


class Refused(ReinstateError):
    """Policy or people said no."""

    code = "REFUSED"
    exit_code = 77


class Overtaken(Refused):
    """Another writer was first; what was decided on is out of date."""

    code = "OVERTAKEN"


class Withdrawn(Refused):
    """Someone took their approval back before anything was changed: the gate is open again."""

    code = "WITHDRAWN"


class PreconditionFailed(ReinstateError):
    """A gate was not met before anything was touched."""

    code = "PRECONDITION_FAILED"
    exit_code = 78


class BadInput(PreconditionFailed):
    """An argument or a file given by a person is wrong."""

    code = "BAD_INPUT"
    exit_code = 64


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a plan file: 1-based line, dotted path of the key, what, and the remedy."""

    line: int
    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """Render as `line N: path: what (remedy)`."""
        return f"line {self.line}: {self.path or 'plan'}: {self.what} ({self.remedy})"


class BadPlan(PreconditionFailed):
    """The plan file is wrong; `problems` lists everything found, not only the first."""

    code = "BAD_PLAN"
    exit_code = 65

    def __init__(
        self, what: str, where: str = "", remedy: str = "", problems: tuple[Problem, ...] = ()
    ) -> None:
        """Keep the problems beside the usual three parts."""
        super().__init__(what, where, remedy)
        self.args = (what, where, remedy, problems)
        self.problems = problems


class Damaged(ReinstateError):
    """A backup, an evidence file, a journal record or a hash is wrong: stop and keep everything."""

    code = "DAMAGED"
    exit_code = 66


class Unsupported(ReinstateError):
    """This system cannot do it; the remedy names what can."""

    code = "UNSUPPORTED"
    exit_code = 69
