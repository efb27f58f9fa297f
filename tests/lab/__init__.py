"""Real hosts for tests: systemd containers that are damaged for real and thrown away.

| module | what lives there |
|---|---|
| `aptsource` | which Debian archive this machine itself uses (no mirror is named in this project) |
| `base` | the cached base root file system, with a pool of its own packages for offline repair |
| `inside` | paths of a host, which its links never lead out of |
| `network` | one private bridge and address range per test session |
| `containers` | what the kernel knows: a container's processes and mounts; ending them for certain |
| `cgroups` | a control group of its own per container, without which hosts disturb each other |
| `host` | `LabHost`: one booted clone of the base, with SSH and an independent way in |
| `facts` | what a file is: everything a repair has to bring back |
| `servers` | the *shop*: web server, database and files of the acceptance tests |
| `damage` | faults done for real, each proving that it took effect |
| `fixtures` | the pytest fixtures |

Needs Linux, root, `systemd-nspawn`, `mmdebstrap` (or `debootstrap`), `apt-ftparchive`, `ip`, `nsenter` and
`ssh-keygen`; `base.missing_prerequisites` says which are absent. No internet is needed once the base is cached.
"""
