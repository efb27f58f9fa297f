"""Reports of the acceptance cases: read as people read them, and kept as examples in `docs/examples`.

`REINSTATE_WRITE_DOCS=1 pytest tests/e2e/test_case_?.py` writes them again.
"""

from __future__ import annotations

import os
from pathlib import Path

from blocks.home import home
from tasks.work import Work

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


def keep_example(name: str, work: Work) -> None:
    """Look at the report that an incident ended with, and keep it as an example when asked to."""
    reviewed = work.state().reviewed
    assert reviewed is not None
    for form in ("html", "md", "json"):
        text = Path(reviewed.report).with_suffix(f".{form}").read_text(encoding="utf-8")
        assert str(home()) not in text, (
            f"{form}: a path of the machine that runs Reinstate is nobody's business"
        )
        if os.environ.get("REINSTATE_WRITE_DOCS"):
            EXAMPLES.mkdir(exist_ok=True)
            (EXAMPLES / f"{name}.{form}").write_text(text, encoding="utf-8")
