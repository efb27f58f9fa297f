"""The report as a PDF, for people who file and sign on paper (R-REV-1)."""

from __future__ import annotations

from model.errors import Unsupported
from tasks.report_pages import report_html
from tasks.report_values import Report


def report_pdf(report: Report) -> bytes:
    """The report as one PDF file, made from the same page as the HTML one.

    Characters outside of Latin need a font that has them on this machine (Debian: `fonts-noto-cjk` for Chinese).

    Raises:
        Unsupported: WeasyPrint or the Pango library is not installed.
    """
    try:
        from weasyprint import HTML  # type: ignore[import-untyped] # it has no types
        from weasyprint.urls import URLFetcher  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:  # OSError: it is there and the system's Pango is not
        raise Unsupported(
            f"PDF needs WeasyPrint and Pango: {error}",
            "--format pdf",
            "install `reinstate[pdf]` and Pango (Debian: libpango-1.0-0 libpangoft2-1.0-0), or print the HTML report",
        ) from error
    nothing = URLFetcher(allowed_protocols=())  # the page names nothing outside of itself
    data: bytes = HTML(string=report_html(report), url_fetcher=nothing).write_pdf()
    return data
