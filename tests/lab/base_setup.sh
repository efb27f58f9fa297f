#!/bin/sh
# Runs once inside a freshly unpacked base: turns it into an offline host that other tests can rely on.
set -eu
. /base_setup/base_common.sh

# Packages: the pool in /srv/pool is the only source, so every repair is offline and deterministic.
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap /var/lib/apt/lists/*
mkdir -p /var/lib/apt/lists/partial
echo 'deb [signed-by=/etc/apt/keyrings/lab.gpg] file:/srv/pool ./' >/etc/apt/sources.list
apt-get update

people

# PostgreSQL: Unicode and page checksums, which the package's own first cluster has not when built in a bare locale.
version=$(pg_lsclusters -h | awk '{ print $1; exit }')
pg_dropcluster "$version" main
pg_createcluster --locale C.UTF-8 "$version" main -- --data-checksums --no-sync

systemctl disable nginx.service postgresql.service
apt-get check
ready
