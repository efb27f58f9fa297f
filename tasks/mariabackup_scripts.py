"""The constant shell scripts around mariabackup: room, unpacking and preparing, a private server, the end. Run as root.

What touches the backup runs as the owner of the data directory: the words that become him come as arguments.
"""

from __future__ import annotations

from checks.data_directory import PAGES

_PROGRAMS = r"""
cd / || exit 73
umask 077
PATH=${1:+$1:}$PATH:/usr/sbin:/sbin:/usr/libexec
export PATH
tool=$(command -v mariadb-backup) || tool=$(command -v mariabackup) || tool=
server=$(command -v mariadbd) || server=$(command -v mysqld) || server=
fail() { status=$1; shift; echo "$*" >&2; exit "$status"; }
"""

TOOLS = (
    _PROGRAMS
    + r"""
echo "program $tool"
[ -z "$tool" ] || echo "backup $("$tool" --version 2>&1 | head -n 1)"
[ -z "$server" ] || echo "server $("$server" --version 2>/dev/null | head -n 1)"
for each in mbstream innochecksum; do ! command -v "$each" >/dev/null || echo "$each there"; done
"""
)
"""Arguments: folder of the programs. Prints which there are, with versions."""

FITS = r"""
cd / || exit 73
live=$1 above=${1%/*}
[ -d "${above:=/}" ] || { echo missing; exit; }
owner=mysql
if [ -e "$live" ]; then
    [ -d "$live" ] && [ ! -L "$live" ] || { echo linked; exit; }
    [ "$(stat -c %d -- "$live")" = "$(stat -c %d -- "$above")" ] || { echo mounted; exit; }
    [ -z "$(find "$live" -maxdepth 2 '(' -type l -o -name '*.isl' ')' -print -quit 2>/dev/null)" ] ||
        { echo elsewhere; exit; }
    owner=$(stat -c %U -- "$live")
fi
id -u -- "$owner" >/dev/null 2>&1 || { echo nobody; exit; }
echo "fits $(df -Pk -- "$above" | awk 'NR == 2 { print $4 }') $owner"
"""
"""Arguments: data directory. Prints `fits FREE OWNER`, FREE in KiB, or why nothing can be laid beside it."""

_HALT = r"""
# running DIR: whether a server runs there; a server works in its data directory. Its number is $pid.
running() {
    for each in /proc/[0-9]*; do
        [ "$(readlink "$each/cwd")" = "$1" ] && pid=${each#/proc/} && return 0
    done
    return 1
}
halt() {
    tries=0
    while running "$1"; do
        if [ "$tries" = 0 ]; then kill -s TERM "$pid"; elif [ "$tries" = 1200 ]; then kill -s KILL "$pid"; fi
        tries=$((tries + 1))
        sleep 0.1
    done
}
"""

LAY = (
    _PROGRAMS
    + _HALT
    + PAGES
    + r"""
shift
new=$1 stream=$2 live=$3 owner=$4
shift 4
halt "$new"
rm -rf -- "$new" "$new.log" || exit 73
mkdir -m 700 -- "$new" && chown -- "$owner:" "$new" || exit 73
"$@" mbstream -x -C "$new" <"$stream" >"$new.log" 2>&1 || fail 65 "mbstream: $(tail -n 2 "$new.log")"
# Its status is 0, too, when it gave up in the middle.
while read -r size name; do
    [ "$(stat -c %s -- "$new/$name" 2>/dev/null)" = "$size" ] ||
        fail 65 "mbstream did not unpack $name whole: $(tail -n 2 "$new.log")"
done
"$@" "$tool" --no-defaults --prepare "--target-dir=$new" >"$new.log" 2>&1 &&
    tail -n 1 "$new.log" | grep -q 'completed OK!$' ||
    fail 65 "mariabackup --prepare: $(grep -iE 'error|corrupt|fail' "$new.log" | tail -n 3)"
page_size "$new/ibdata1"
find "$new" -type f '(' -name '*.ibd' -o -name 'ibdata*' -o -name 'undo[0-9]*' ')' >"$new.files"
while IFS= read -r file; do
    pages "$file" "$@" </dev/null >"$new.log" 2>&1 ||
        fail 65 "${file#"$new/"}: innochecksum: $(head -n 1 "$new.log")"
done <"$new.files"
find "$new" -mindepth 1 -type d -exec chmod 700 '{}' + && find "$new" -type f -exec chmod 660 '{}' + || exit 73
if [ -d "$live" ]; then
    chmod --reference="$live" -- "$new" || exit 73
    chcon -R --reference="$live" -- "$new" 2>/dev/null
    for file in "$live"/debian-*.flag "$live/mysql_upgrade_info" "$live/mariadb_upgrade_info"; do
        [ ! -f "$file" ] || cp -p -- "$file" "$new/" || exit 73
    done
fi
rm -f -- "$new.log" "$new.files"
: >"$new/reinstate-whole"
sync
"""
)
"""Arguments: folder of the programs, new directory, the stream, data directory, its owner, the words that become him;
`SIZE NAME` of every file on stdin. Exit status 65: the backup is not whole."""

RUN = (
    _PROGRAMS
    + _HALT
    + r"""
shift
new=$1 place=$2 owner=$3
shift 3
[ ! -e "$place" ] || { [ ! -L "$place" ] && [ "$(stat -c %U -- "$place")" = "$owner" ]; } ||
    fail 73 "$place is somebody else's"
halt "$new"
rm -rf -- "$place"
mkdir -m 700 -- "$place" && chown -- "$owner:" "$place" || exit 73
# Whoever gets to the socket may do everything: only its owner gets into the folder.
setsid "$@" "$server" "--defaults-file=$new/backup-my.cnf" "--datadir=$new" "--socket=$place/s" \
    "--pid-file=$place/pid" "--log-error=$place/log.err" "--secure-file-priv=$place" --skip-networking \
    --skip-grant-tables --skip-log-bin --skip-slave-start --local-infile=0 --innodb-buffer-pool-size=128M \
    </dev/null >/dev/null 2>&1 &
child=$!
until mariadb --no-defaults --protocol=socket "--socket=$place/s" -e 'DO 0' >/dev/null 2>&1; do
    kill -0 "$child" 2>/dev/null ||
        fail 65 "the restored server does not start: $(grep -F '[ERROR]' "$place/log.err" | tail -n 3)"
    sleep 0.2
done
"""
)
"""Arguments: folder of the programs, new directory, private folder, its owner, the words that become him. The server
goes on running. Exit status 65: it does not start."""

STOP = (
    _HALT
    + r"""
cd / || exit 73
halt "$1"
rm -rf -- "$2"
"""
)
"""Arguments: new directory, private folder. Ends the private server."""

END = (
    STOP
    + r"""
rm -rf -- "$1" "$1.log" "$1.files" "$1".stream-*
"""
)
"""Arguments: new directory, private folder. Ends the server that may run there; removes both, and a staged stream."""

WHOLE = '[ -e "$1/reinstate-whole" ]'
"""Arguments: new directory. Whether `LAY` ended there."""
