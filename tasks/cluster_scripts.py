"""The constant shell scripts that lay out, run, examine and exchange clusters; all run as the clusters' owner."""

# ruff: noqa: S608 - shell; the only SQL in it is constant

from __future__ import annotations

FITS = r"""
cd / || exit 73
live=$1
[ -s "$live/PG_VERSION" ] || { echo missing; exit; }
[ "$(stat -c %d -- "$live")" = "$(stat -c %d -- "${live%/*}")" ] || { echo mounted; exit; }
[ -w "${live%/*}" ] || { echo closed; exit; }
set -- "$live"/pg_tblspc/*
[ ! -L "$1" ] || { echo tablespaces; exit; }
[ ! -L "$live/pg_wal" ] || { echo wal; exit; }
echo "fits $(du -sk -- "$live" 2>/dev/null | cut -f1) $(df -Pk -- "${live%/*}" | awk 'NR == 2 { print $4 }')"
"""
"""Arguments: data directory. Prints `fits USED FREE` in KiB, or why nothing can be laid beside it."""

_HALT = r"""
# running DIR: whether a server runs there; its number is $pid. A copied postmaster.pid names another one's server.
running() {
    { read -r pid <"$1/postmaster.pid"; } 2>/dev/null && [ "$(readlink "/proc/$pid/cwd")" = "$1" ]
}
# halt DIR: end a private server that an earlier attempt left there.
halt() {
    running "$1" || return 0
    kill -s INT "$pid"
    tries=0
    while running "$1" && [ "$tries" -lt 600 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
}
"""

LAY = (
    _HALT
    + r"""
umask 077
live=$1 new=$2
shift 2
cd / || exit 73
halt "$new"
rm -rf -- "$new" || exit 73
# A copy of what is there, so that only what differs is fetched. A running server's files come and go: the copy need
# not be whole, because every file of it is hashed against the backup.
cp -a --reflink=auto -- "$live" "$new" 2>/dev/null
rm -f -- "$new/postmaster.pid" "$new/postmaster.opts"
"$@" >"$new.log" 2>&1
status=$?
grep -E 'restore file |ERROR|WARN' "$new.log" | grep -v ' - exists and ' | head -c 4000000
rm -f -- "$new.log"
exit "$status"
"""
)
"""Arguments: data directory, new directory, the words of `pgbackrest restore`. Prints what was fetched."""

_COMMON = (
    _HALT
    + r"""
umask 077
cd / || exit 73
fail() { status=$1; shift; echo "$*" >&2; exit "$status"; }
# programs DIR VERSION: where the server's own programs are.
programs() {
    for bin in "$1" "/usr/lib/postgresql/$2/bin" "/usr/pgsql-$2/bin"; do
        [ -n "$bin" ] && [ -x "$bin/pg_ctl" ] && return
    done
    bin=$(command -v pg_ctl) && bin=${bin%/*} || fail 78 "pg_ctl of PostgreSQL $2 is not found: set bin_dir in the plan"
}
control() { "$bin/pg_controldata" -D "$new" | sed -n "s/^$1: *//p"; }
# run ARCHIVE TIMELINE TARGET…: start the server of $new where only its owner reaches it; wait until it is open.
run() {
    archive=$1 timeline=$2
    shift 2
    if [ -e "$place" ] && { [ -L "$place" ] || [ ! -O "$place" ]; }; then fail 73 "$place is somebody else's"; fi
    halt "$new"
    rm -f -- "$new/postmaster.pid"
    mkdir -p -m 700 -- "$place" || exit 73
    echo 'local all all trust' >"$place/hba"
    : >"$place/ident"
    {
        echo "hba_file = '$place/hba'"
        echo "ident_file = '$place/ident'"
        # A server in recovery refuses to start with less than its primary had.
        echo "max_connections = $(control 'max_connections setting')"
        echo "max_worker_processes = $(control 'max_worker_processes setting')"
        echo "max_wal_senders = $(control 'max_wal_senders setting')"
        echo "max_prepared_transactions = $(control 'max_prepared_xacts setting')"
        echo "max_locks_per_transaction = $(control 'max_locks_per_xact setting')"
        printf '%s\n' "$@"
    } >"$place/conf"
    set -- -c "config_file=$place/conf" -c "unix_socket_directories=$place" -c unix_socket_permissions=0700 \
        -c listen_addresses= -c port=5432 -c ssl=off -c logging_collector=off -c shared_preload_libraries= \
        -c "archive_mode=$archive" -c archive_command= -c hot_standby=on \
        -c "recovery_target_timeline=$timeline" -c recovery_target_action=promote -c autovacuum=off \
        -c max_logical_replication_workers=0
    words=
    for word; do words="$words '$word'"; done
    "$bin/pg_ctl" -D "$new" -l "$place/log" -w -t 86400 -s -o "$words" start || broken
    until [ "$(ask 'SELECT pg_is_in_recovery()')" = f ]; do
        "$bin/pg_ctl" -D "$new" status >/dev/null || broken
        sleep 0.2
    done
}
broken() {
    grep -E ' (FATAL|PANIC|ERROR): ' "$place/log" | tail -n 4 >&2
    fail 65 "the restored cluster does not start"
}
ask() { "$bin/psql" -X -q -A -t -h "$place" -p 5432 -d "${2:-postgres}" -c "$1"; }
"""
)

RECOVER = (
    _COMMON
    + r"""
live=$1 new=$2 place=$3 given=$4 database=$5 timeline=$6
[ ! -e "$new/reinstate-whole" ] || exit 0
programs "$given" "$(cat -- "$new/PG_VERSION")"
# WAL that was not archived yet: recovery asks the archive first, then this folder.
for segment in "$live"/pg_wal/*; do
    [ ! -f "$segment" ] || cp -pn -- "$segment" "$new/pg_wal/" || exit 73
done
rm -f -- "$new"/pg_wal/*.partial
# Archiving is on with no command: what this server writes is archived once the cluster serves again.
run on "$timeline"
cat >"$place/counts"
"$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$place" -p 5432 -d "$database" -f "$place/counts" ||
    fail 65 "the restored database cannot be counted"
"$bin/pg_dumpall" -h "$place" -p 5432 >/dev/null || fail 65 "a table of the restored cluster cannot be read"
amcheck="SELECT 1 FROM pg_extension WHERE extname = 'amcheck'"
if [ -x "$bin/pg_amcheck" ] && [ "$(ask "$amcheck" "$database")" = 1 ]; then
    "$bin/pg_amcheck" -h "$place" -p 5432 -d "$database" >&2 || fail 65 "pg_amcheck found damage in it"
    echo amcheck
fi
"$bin/pg_ctl" -D "$new" -m fast -w -t 3600 -s stop || fail 73 "the restored cluster does not stop"
if [ "$(control 'Data page checksum version')" != 0 ]; then
    "$bin/pg_checksums" --check -D "$new" >"$place/sums" 2>&1 || {
        grep -E 'failed|incorrect' "$place/sums" | tail -n 4 >&2
        fail 65 "pages of the restored cluster are broken"
    }
    echo "checksums $(sed -n 's/^Blocks scanned: *//p' "$place/sums")"
fi
[ ! -e "$live/global/pg_control" ] ||
    "$bin/pg_controldata" -D "$live" | sed -n 's/^Latest checkpoint location: */live /p'
history=$(ls -- "$new"/pg_wal/*.history 2>/dev/null | tail -n 1)
[ -z "$history" ] || echo "reached $(awk 'NF > 1 { place = $2 } END { print place }' "$history")"
# Configuration is no data: today's stays.
for file in postgresql.auto.conf postgresql.conf pg_hba.conf pg_ident.conf; do
    [ ! -s "$live/$file" ] || cp -p -- "$live/$file" "$new/$file" || exit 73
done
rm -rf -- "$place"
: >"$new/reinstate-whole"
sync -- "$new/reinstate-whole" 2>/dev/null || sync
"""
)
"""Arguments: data directory (its server stopped), new directory, private folder, folder of the programs, database,
timeline; SQL that counts rows on stdin. Prints counts, `amcheck`, `checksums BLOCKS`, `live LSN`, `reached LSN`.
Exit status 65: the restored cluster is not whole."""

BESIDE = (
    _COMMON
    + r"""
live=$1 new=$2 place=$3 given=$4 timeline=$5
shift 5
programs "$given" "$(cat -- "$new/PG_VERSION")"
for segment in "$live"/pg_wal/*; do
    [ ! -f "$segment" ] || cp -pn -- "$segment" "$new/pg_wal/" 2>/dev/null
done
run off "$timeline" "$@"
"""
)
"""Arguments: data directory, new directory, private folder, folder of the programs, timeline, lines of configuration
with the target. The server goes on running, open for SQL below its private folder. Exit status 65: not reached."""

SOCKET = r"""
cd / || exit 73
sed -n '4p;5p' -- "$1/postmaster.pid"
"""
"""Arguments: data directory. Prints port and socket folder of the server that runs there."""

PIPE = r"""
cd / || exit 73
umask 077
psql=${1:+$1/}psql from=$2 from_port=$3 to=$4 to_port=$5 database=$6 status=$7
PGOPTIONS='-c datestyle=ISO -c timezone=UTC -c extra_float_digits=3 -c intervalstyle=postgres -c bytea_output=hex'
export PGOPTIONS
rm -f -- "$status"
{
    "$psql" -X -q -v ON_ERROR_STOP=1 -h "$from" -p "$from_port" -d "$database" -c "$8"
    echo "$?" >"$status"
} | "$psql" -X -q -v ON_ERROR_STOP=1 -h "$to" -p "$to_port" -d "$database" -c "$9" || exit 74
[ "$(cat -- "$status")" = 0 ] || exit 75
rm -f -- "$status"
"""
"""Arguments: folder of the programs, socket and port of the source, the same of the destination, database, a file for
the source's status, a COPY TO STDOUT, a COPY FROM STDIN. Rows go from one server to the other and nowhere else."""

END = (
    _HALT
    + r"""
cd / || exit 73
halt "$1"
rm -rf -- "$1" "$2"
"""
)
"""Arguments: new directory, private folder. Ends the server that may run there, and removes both."""

TIMELINE = r"""
cd / || exit 73
live=$1 bin=$2
version=$(cat -- "$live/PG_VERSION") || exit 66
for bin in "$bin" "/usr/lib/postgresql/$version/bin" "/usr/pgsql-$version/bin"; do
    [ -z "$bin" ] || [ ! -x "$bin/pg_controldata" ] || break
done
LC_ALL=C "$bin/pg_controldata" -D "$live"
"""
"""Arguments: data directory, folder of the programs. Prints what pg_control says."""
