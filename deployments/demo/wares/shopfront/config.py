"""The shop's configuration file."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path


class ConfigError(Exception):
    """The configuration cannot be used; the text says why."""


@dataclass(frozen=True)
class Config:
    """The values of `shop.ini`."""

    title: str
    port: int
    psql: str
    dsn: str
    files: Path
    theme: Path
    report: Path


def read(path: Path) -> Config:
    """Reads the configuration.

    Raises:
        ConfigError: a section, a key or a value is missing or wrong, or the file is not text.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"), str(path))
        return Config(
            title=parser["shop"]["title"],
            port=parser.getint("shop", "port"),
            psql=parser["database"]["psql"],
            dsn=parser["database"]["dsn"],
            files=Path(parser["shop"]["files"]),
            theme=Path(parser["packages"]["theme"]),
            report=Path(parser["packages"]["report"]),
        )
    except (OSError, ValueError, KeyError, configparser.Error) as error:
        raise ConfigError(f"{path.name}: {' '.join(str(error).split())}") from error
