"""A real S3 server below one folder, without root: OpenStack Swift with s3api, on Linux. Elsewhere there is none."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from deployments.demo.facts import S3Facts
from deployments.demo.host import write_secret
from deployments.demo.processes import clean_environment, free_port, run, spawn, wait_until

BUCKET = "reinstate-backups"
REGION = "us-east-1"
ACCOUNT = "demo"

RING = """\
from swift.common.ring import RingBuilder
import sys
for name, port in zip(("account", "container", "object"), sys.argv[2:]):
    builder = RingBuilder(4, 1, 1)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1",
                     "weight": 1.0, "replication_ip": "127.0.0.1", "replication_port": int(port), "meta": ""})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{name}.ring.gz")
"""
SWIFT_CONF = """\
[swift-hash]
swift_hash_path_prefix = {prefix}
swift_hash_path_suffix = {suffix}
[storage-policy:0]
name = gold
policy_type = replication
default = yes
"""
COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {home}
devices = {home}/dev
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
recon_cache_path = {home}/cache
log_level = WARNING
log_address = {home}/no-syslog
log_udp_host =
"""
STORAGE = """\
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
recon_cache_path = {home}/cache
"""
OBJECT = """\
network_chunk_size = 1048576
disk_chunk_size = 1048576
"""
PROXY = """\
[pipeline:main]
pipeline = catch_errors listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
s3_acl = no
location = {region}
force_swift_request_proxy_log = no
min_segment_size = 5242880
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{access} = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
yield_frequency = 0
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
object_chunk_size = 1048576
client_chunk_size = 1048576
"""


def available(folder: Path) -> bool:
    """Whether the server can run here: Linux, Swift installed, and a file system with user attributes."""
    if sys.platform != "linux" or any(find_spec(name) is None for name in ("swift", "eventlet", "boto3")):
        return False
    with tempfile.NamedTemporaryFile(dir=folder) as probe:
        try:
            os.setxattr(probe.name, "user.reinstate", b"1")
        except OSError:
            return False
    return True


def facts(secret_dir: Path, port: int | None) -> S3Facts:
    """Describes the server; makes its keys once and keeps the port of an earlier run if it is free."""
    access, secret = secret_dir / "s3-access-key", secret_dir / "s3-secret-key"
    if not (access.exists() and secret.exists()):
        # The access key of Swift's tempauth is `account:user`.
        write_secret(access, f"{ACCOUNT}:{secrets.token_hex(8)}\n")
        write_secret(secret, f"{secrets.token_hex(20)}\n")
    return S3Facts(
        endpoint=f"http://127.0.0.1:{free_port(port)}",
        region=REGION,
        bucket=BUCKET,
        access_key_file=access,
        secret_key_file=secret,
    )


def start(home: Path, s3: S3Facts, world_id: str) -> None:
    """Starts the server in its folder and makes the bucket, unless it exists."""
    log = home / "swift.log"
    ready = home / "swift.ready"
    ready.unlink(missing_ok=True)
    _configure(home, s3, world_id)
    project = Path(__file__).resolve().parents[2]
    argv = [sys.executable, "-P", "-W", "ignore", "-m", "deployments.demo.swiftd", str(home)]
    env = clean_environment(world_id, PYTHONPATH=str(project), HOME=str(home), TMPDIR=str(home / "tmp"))
    pid = spawn(argv, cwd=home, env=env, log=log)
    (home / "swift.pid").write_text(f"{pid}\n")
    if not wait_until(ready.exists, timeout=30):
        raise RuntimeError(f"the demo's S3 server did not start: {log.read_text()[-800:]}")
    _make_bucket(s3)


def _configure(home: Path, s3: S3Facts, world_id: str) -> None:
    for name in ("dev/d1", "cache", "tmp"):
        (home / name).mkdir(parents=True, exist_ok=True)
    if not (home / "swift.conf").exists():
        swift = SWIFT_CONF.format(prefix=secrets.token_hex(8), suffix=secrets.token_hex(8))
        write_secret(home / "swift.conf", swift)
    user = getpass.getuser()
    ports = {name: free_port() for name in ("account", "container", "object")}
    env = clean_environment(world_id, HOME=str(home))
    argv = [
        sys.executable,
        "-P",
        "-W",
        "ignore",
        "-c",
        RING,
        str(home),
        *(str(port) for port in ports.values()),
    ]
    run(argv, env=env, cwd=home)
    for name, port in ports.items():
        text = COMMON.format(port=port, user=user, home=home) + STORAGE.format(name=name, home=home)
        (home / f"{name}-server.conf").write_text(text + (OBJECT if name == "object" else ""))
    access = s3.access_key_file.read_text().strip().partition(":")[2]
    proxy = PROXY.format(
        region=s3.region, account=ACCOUNT, access=access, secret=s3.secret_key_file.read_text().strip()
    )
    common = COMMON.format(port=s3.endpoint.rpartition(":")[2], user=user, home=home)
    write_secret(home / "proxy-server.conf", common + proxy)


def _make_bucket(s3: S3Facts) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=s3.access_key_file.read_text().strip(),
        aws_secret_access_key=s3.secret_key_file.read_text().strip(),
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"max_attempts": 5, "mode": "standard"},
        ),
    )
    with contextlib.closing(client):
        try:
            client.head_bucket(Bucket=s3.bucket)
        except ClientError:
            client.create_bucket(Bucket=s3.bucket)
