"""OpenStack Swift with its S3 interface in one process: `python -m deployments.demo.swiftd DIR`.

Swift is four servers that talk HTTP to each other. For the demo they share one process, which starts in a third of the
time and memory; each still has its own socket and its own configuration file.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

SERVERS = ("account", "container", "object", "proxy")


def main() -> None:
    """Serves until it is ended."""
    # Neither ships types, and neither is installed where the S3 server cannot run.
    import eventlet  # type: ignore[import-untyped,import-not-found,unused-ignore]  # see above
    import eventlet.wsgi  # type: ignore[import-untyped,import-not-found,unused-ignore]  # see above
    from swift.common import constraints, utils, wsgi  # type: ignore[import-untyped,import-not-found,unused-ignore]

    os.environ["TZ"] = "UTC+0"  # Swift writes local times and means UTC
    time.tzset()
    utils.eventlet_monkey_patch()
    eventlet.hubs.use_hub(wsgi.get_hub())
    home = Path(sys.argv[1])
    utils.set_swift_dir(str(home))
    silent = logging.getLogger("demo-swift-requests")
    silent.disabled = True
    running = []
    for name in SERVERS:
        path = str(home / f"{name}-server.conf")
        config = wsgi.appconfig(path, name=f"{name}-server")
        application = wsgi.loadapp(path, global_conf={"log_name": f"{name}-server"})
        listening = wsgi.get_socket(config)
        options = {
            "protocol": wsgi.SwiftHttpProtocol,
            "custom_pool": wsgi.RestrictedGreenPool(size=256),
            "socket_timeout": 60,
            "capitalize_response_headers": False,  # S3 clients look for `ETag`, not `Etag`
            "url_length_limit": constraints.MAX_REQUEST_LINE,
        }
        running.append(eventlet.spawn(eventlet.wsgi.server, listening, application, silent, **options))
    (home / "swift.ready").write_text(f"{os.getpid()}\n")
    for server in running:
        server.wait()


if __name__ == "__main__":
    main()
