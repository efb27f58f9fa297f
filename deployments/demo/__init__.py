"""The throw-away world of `make demo`: a host with a web shop, its database, packages and backups in one folder.

Nothing here needs root, a network or a container. The parts, bottom up:

- `facts`      what the rest of the demo needs to know about the world: addresses, paths, commands (no secrets)
- `processes`  processes started detached, recognised by a mark in their environment, ended by pid
- `sshd`       the embedded SSH server (a process of its own); `host` makes its keys and starts it
- `wheel`      writes wheels and `packages` writes .debs, without any build tool or network
- `shop`       installs the web shop (its sources are in `wares/`) and its supervisor
- `database`   the shop's PostgreSQL, also when started by root
- `files`      the shop's file set
- `s3`, `swiftd`  a real S3 server, where the system can run it
- `people`     the emergency organisation, with one-time codes
- `damage`     what breaks the host, for real
- `template`   the host, made once and copied for every further demo
- `world`      builds, starts, stops and removes all of it
"""
