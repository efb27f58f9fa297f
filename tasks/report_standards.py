"""Where a report answers what standards ask of one; what it cannot know is said, too."""

from __future__ import annotations

STANDARDS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    (
        "DORA, RTS (EU) 2024/1772 and 2025/301",
        "when the incident was detected, how long it lasted, downtime",
        ("Objectives and measured times", "Timeline"),
        "",
    ),
    ("", "services affected", ("Summary", "What was damaged", "Diagnosis"), ""),
    ("", "data losses", ("What was lost", "Recovery points"), ""),
    ("", "root cause", ("Diagnosis",), "probable cause"),
    ("", "measures taken, and when it was resolved", ("What was done", "Timeline"), ""),
    ("", "clients, transactions, countries, costs, reputation", (), "not in the journal: add it yourself"),
    (
        "DORA, RTS (EU) 2024/1774, article 25(5)",
        "results of a test documented; deficiencies analysed, addressed, reported to the management",
        ("What went well", "What went badly", "What to improve", "What the leading group said"),
        "of an incident of kind drill",
    ),
    (
        "NIST SP 800-53, CP-4",
        "test results reviewed, corrective actions begun",
        ("What the leading group said", "What to improve"),
        "of an incident of kind drill",
    ),
    (
        "NIST SP 800-53, CP-10",
        "recovered to a known state within the time and point objectives",
        ("Objectives and measured times", "What proves it"),
        "",
    ),
    ("NIST CSF 2.0, RC.RP", "recovery actions chosen and performed", ("What was done", "Who decided"), ""),
    (
        "",
        "integrity of backups checked before use, of assets after",
        ("Recovery points", "What proves it"),
        "",
    ),
    (
        "",
        "the end declared on criteria, documentation complete",
        ("What proves it", "Evidence and snapshots"),
        "",
    ),
    (
        "NIST CSF 2.0, RC.CO",
        "recovery communicated inside and outside",
        ("Messages", "Timeline"),
        "as far as recorded",
    ),
    (
        "GB/T 46792",
        "what happened, cause, measures, losses, lessons",
        ("Summary", "Diagnosis", "What was done", "What was lost", "What went well", "What went badly"),
        "",
    ),
    (
        "",
        "review by the leading group, rectification",
        ("What the leading group said", "What to improve"),
        "",
    ),
)
"""Standard (empty: as above), what it asks for, the sections of the report that answer, a remark.

Diagnosis, Messages and Recovery points are left out of a report that has none.
"""


def rows() -> list[tuple[str, str, str]]:
    """The table as texts."""
    return [
        (standard, asks, ", ".join(sections) + (f" ({note})" if sections and note else note))
        for standard, asks, sections, note in STANDARDS
    ]
