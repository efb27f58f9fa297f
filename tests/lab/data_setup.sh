#!/bin/sh
# Runs once inside a freshly unpacked base: a host with databases and the backup tools people have.
set -eu
rm -rf /var/cache/apt/archives/*.deb
. /base_setup/base_common.sh
people

# As in the Debian base: Unicode and page checksums.
version=$(pg_lsclusters -h | awk '{ print $1; exit }')
pg_dropcluster "$version" main
pg_createcluster --locale C.UTF-8 "$version" main -- --data-checksums --no-sync

systemctl disable postgresql.service mariadb.service
systemctl mask mariadb-check.timer pgbackrest.timer || true
ready
