#!/bin/sh
# Runs once inside a freshly unpacked base: a host with Ceph's object gateway, which nothing starts by itself.
set -eu
rm -rf /var/cache/apt/archives/*.deb
. /base_setup/base_common.sh
people
systemctl mask ceph.target ceph-mon.target ceph-mgr.target ceph-osd.target ceph-radosgw.target ceph-crash.service
ready
