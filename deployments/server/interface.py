"""The UI's sign-off form made legible: Prefect's squeezes the text above its fields into a slit on a usual screen.

The server serves a copy of Prefect's UI from our folder; into this copy goes one style element. Without it everything
works; the text must then be scrolled where nothing says that it can be.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

STYLE = (
    '<style id="reinstate">'
    ".p-modal__body>.markdown-renderer{flex:none;overflow:visible}"
    ".p-modal__card:has(.markdown-renderer){max-width:52rem}"
    ".markdown-renderer__table{max-width:100%!important}"
    ".markdown-renderer__table .p-table-data,.artifact-table .p-table-data,.p-table-data{white-space:normal;"
    "overflow:visible;overflow-wrap:anywhere;min-width:4.5rem}"
    "</style>"
)
"""The whole form scrolls as one, wide enough for a path."""


def make_legible(folder: Path) -> None:
    """Add our style to the copy of the UI; a later version of Prefect that looks different is left as it is.

    Args:
        folder: what PREFECT_SERVER_UI_STATIC_DIRECTORY names; the running server made the copy.
    """
    page = folder / "v1" / "index.html"
    with suppress(OSError, UnicodeDecodeError):
        text = page.read_text(encoding="utf-8")
        if STYLE not in text and "</head>" in text:
            new = page.with_suffix(".new")
            new.write_text(text.replace("</head>", f"{STYLE}</head>", 1), encoding="utf-8")
            new.replace(page)
