"""The shop's file set: about sixty files with sub-directories, odd names and modes, and a symbolic link."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

IMAGES = 40
MTIME = 1_718_000_000
"""Files are as old as real ones: a time of modification of now would hide a restore that loses it."""

ODD_NAMES = (
    "price list (final) v2.csv",
    "Größentabelle – Überblick.txt",
    "注文.txt",
    "-rf.txt",
    'it\'s "quoted".txt',
    "semi;colon & $(date) `id`.txt",
    "star*[a-z]?.txt",
    "percent%20and+plus.txt",
    " leading and trailing blanks ",
    "x" * 200 + ".txt",
    ".hidden",
)


def content(name: str, size: int) -> bytes:
    """Bytes that look random and are the same every time."""
    blocks = (hashlib.sha256(f"{name}/{number}".encode()).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def image(number: int) -> str:
    """The name of a product's picture, below the file set."""
    return f"catalog/{number // 10}/image-{number:03}.bin"


def create(top: Path) -> None:
    """Creates the file set. `catalog/index.csv` lists what the shop's health check wants to find."""
    listed: list[tuple[str, bytes]] = []
    for name, data in _files():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o644)
        listed.append((name, data))
    index = top / "catalog/index.csv"
    with index.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "bytes", "sha256"))
        writer.writerows((name, len(data), hashlib.sha256(data).hexdigest()) for name, data in listed)
    (top / "invoices/2024-12.txt").chmod(0o600)
    (top / "tools/export.sh").chmod(0o755)
    (top / "empty directory").mkdir(exist_ok=True)
    (top / "invoices/latest").symlink_to("2024-12.txt")
    for path in sorted(top.rglob("*"), reverse=True):
        os.utime(path, (MTIME, MTIME), follow_symlinks=False)


def _files() -> Iterator[tuple[str, bytes]]:
    for number in range(IMAGES):
        yield image(number), content(str(number), 2_000 + number * 1_500)
    for month in range(1, 13):
        lines = "".join(f"2024-{month:02}-{day:02};{day * month * 17 % 900}.00\n" for day in range(1, 29))
        yield f"invoices/2024-{month:02}.txt", lines.encode()
    for name in ODD_NAMES:
        yield f"notes/{name}", content(name, 700)
    yield "notes/empty.txt", b""
    yield "tools/export.sh", b'#!/bin/sh\nexec cat -- "$@"\n'
