"""The kinds of damage a drill can do; `model.faults` says what each needs."""

from __future__ import annotations

from enum import StrEnum


class FaultKind(StrEnum):
    """Kinds of damage; never renamed, only added to."""

    PACKAGE_FILE = "package-file"
    LIBRARY_BIT = "library-bit"
    CONFIGURATION = "configuration"
    PERMISSIONS = "permissions"
    DELETED_DIRECTORY = "deleted-directory"
    OVERWRITTEN_DOCUMENTS = "overwritten-documents"
    DISK_FULL = "disk-full"
    KILLED_UPGRADE = "killed-upgrade"
    DATABASE_PAGES = "database-pages"
    WRONG_UPDATE = "wrong-update"
    DROPPED_TABLE = "dropped-table"
    STOPPED_SERVICE = "stopped-service"
    EXPIRED_CERTIFICATE = "expired-certificate"
