"""A worker of its own that restores a whole file set, to be killed: `python -m tests.support.restorer FILE`.

FILE is JSON: the host and where its key is, the store, the action, the job's prefix and the fencing token.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from blocks.backups import open_backup_store
from blocks.hosts.ssh import SSHHost
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from model.assets import FilesAsset
from model.backup_sources import S3Source
from model.host import Host
from model.proposal import RestoreFiles
from tasks import restore_files
from tests.support.stores import FixedSecrets


def main(file: Path) -> None:
    """Restore; prints the sentence."""
    told = json.loads(file.read_text())
    host = SSHHost.from_plan("web", Host.model_validate(told["host"]), Secrets(Path(told["folder"])))
    source = S3Source.model_validate(told["source"])
    key = SigningKey.load_or_create(Path(told["keys"]))
    store = open_backup_store("offsite", source, FixedSecrets(), key, file.parent)
    with host.connect() as connection:
        performed = restore_files.perform(
            connection, FilesAsset.model_validate(told["asset"]), RestoreFiles.model_validate(told["action"]), store,
            job_prefix=told["prefix"], token=told["token"], progress=lambda _done, _total: None,
        )  # fmt: skip
    print(performed.sentence)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
