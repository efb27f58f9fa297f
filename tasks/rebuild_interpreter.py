"""Making a virtual environment's links to its base interpreter, and its pyvenv.cfg, whole again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from blocks.hosts.base import Connection
from model.assets import PipAsset
from model.errors import PreconditionFailed, ReinstateError
from model.proposal import RebuildInterpreter
from tasks.performed import Performed
from tasks.placing import Step, flushes, place, put, symlink
from tasks.staging import Progress, ask, staging

_ASK = "import json, sys; print(json.dumps(['%d.%d' % sys.version_info[:2], sys.prefix]))"


def perform(
    connection: Connection, asset: PipAsset, action: RebuildInterpreter,
    *, job_prefix: str, token: int, progress: Progress,
) -> Performed:  # fmt: skip
    """See the base interpreter run, make the links and pyvenv.cfg, and see the environment's interpreter run.

    Raises:
        PreconditionFailed: the base interpreter is not the one that was signed for; nothing was changed.
        Transient: the connection was lost; calling again goes on.
        ReinstateError: the interpreter does not run afterwards.
    """
    said = _version(connection, action.base, "-I", "-S", "-c", _ASK)
    if said is None or said[0] != action.version:
        found = said[0] if said else "nothing that runs"
        raise PreconditionFailed(
            f"{action.base} is {found}, the proposal was signed for {action.version}.", connection.name,
            "repair or install the packages of that interpreter, then propose again",
        )  # fmt: skip
    prefix = str(PurePosixPath(asset.python).parent.parent)
    with staging(connection, job_prefix, token) as stage:
        steps = [symlink(entry) for entry in action.links]
        if action.config:
            config = action.config.encode()
            with TemporaryDirectory() as folder:
                (local := Path(folder) / "pyvenv.cfg").write_bytes(config)
                staged = stage.push(local, "pyvenv.cfg", hashlib.sha256(config).hexdigest(), progress)
            steps += [Step("own", staged, f"{action.uid}:{action.gid}", "00644")]
            steps += [put(action.config_path, staged)]
        paths = [*(entry.path for entry in action.links), *([action.config_path] if action.config else [])]
        aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
        place(connection, f"{job_prefix}-interpreter", [*steps, *flushes(paths)], token, aside=aside)
    after = _version(connection, asset.python, "-I", "-S", "-c", _ASK)
    if after is None or after[0] != action.version:
        raise ReinstateError(
            f"{asset.python} does not run as Python {action.version} after its links were made.", connection.name,
            "look at the base interpreter's own packages",
        )  # fmt: skip
    return Performed(
        f"{len(paths)} part{'s' if len(paths) != 1 else ''} of {prefix} made anew; its interpreter is {action.base} "
        f"{action.version}."
    )


def _version(connection: Connection, *words: str) -> tuple[str, str] | None:
    result = ask(connection, *words)
    try:
        version, prefix = json.loads(result.stdout) if result.ok else (None, None)
    except ValueError:
        return None
    return (str(version), str(prefix)) if version else None
