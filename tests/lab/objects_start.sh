#!/bin/sh
# Runs inside a host of the base `objects`: one monitor, one manager, one disk in memory, and the S3 gateway before them.
# Arguments: address and port of the gateway; access key and secret key of its only user.
set -eu
address=$1 port=$2 access=$3 secret=$4
top=/srv/ceph
conf=$top/ceph.conf
admin="ceph -c $conf -k $top/admin.keyring --connect-timeout 60"
mkdir -p $top/mon $top/mgr $top/osd $top/run $top/log $top/rgw
fsid=$(cat /proc/sys/kernel/random/uuid)
cat >$conf <<END
[global]
fsid = $fsid
mon initial members = a
mon host = [v2:$address:3300,v1:$address:6789]
public network = $address/32
cluster network = $address/32
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data = $top/mon
mgr data = $top/mgr
osd data = $top/osd
osd objectstore = memstore
memstore device bytes = 4294967296
run dir = $top/run
crash dir = $top/run
admin socket = $top/run/\$name.asok
pid file = $top/run/\$name.pid
log file = $top/log/\$name.log
[mgr]
mgr initial modules =
[client.rgw]
keyring = $top/rgw/keyring
rgw data = $top/rgw
rgw frontends = beast endpoint=$address:$port
rgw enable usage log = false
END

key() { # key FILE NAME CAPABILITIES...
    file=$1 name=$2; shift 2
    ceph-authtool --create-keyring $file --gen-key -n $name "$@"
}
key $top/mon.keyring mon. --cap mon 'allow *'
key $top/admin.keyring client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
key $top/mgr/keyring mgr.a --cap mon 'allow profile mgr' --cap osd 'allow *'
key $top/rgw/keyring client.rgw --cap mon 'allow rw' --cap osd 'allow rwx'
for one in admin.keyring mgr/keyring rgw/keyring; do
    ceph-authtool $top/mon.keyring --import-keyring $top/$one
done
monmaptool --create --addv a "[v2:$address:3300,v1:$address:6789]" --fsid $fsid $top/monmap
ceph-mon -c $conf --mkfs -i a --monmap $top/monmap --keyring $top/mon.keyring
ceph-mon -c $conf -i a
ceph-mgr -c $conf -i a
disk=$(cat /proc/sys/kernel/random/uuid)
disk_key=$(ceph-authtool --gen-print-key)
echo "{\"cephx_secret\": \"$disk_key\"}" >$top/osd.json
number=$($admin osd new $disk -i $top/osd.json)
ceph-authtool --create-keyring $top/osd/keyring --name osd.$number --add-key $disk_key
ceph-osd -c $conf -i $number --mkfs --osd-uuid $disk
ceph-osd -c $conf -i $number
radosgw -c $conf -n client.rgw
radosgw-admin -c $conf -k $top/admin.keyring -n client.admin user create --uid lab --display-name lab \
    --access-key "$access" --secret-key "$secret" >/dev/null
