# The process of one job: says who it is, runs the command, leaves its result. Its directory was made by job.sh.
set -f
dir=$1 mark=$2 mask=$3 locale=$4
shift 4
umask 077
stamp $$ || exit 1
echo "$$ $(date +%s) $stamp" >"$dir/pid.new" && mv -- "$dir/pid.new" "$dir/pid" || exit 1
# Whoever makes this directory decides: the job begins, or it was declared lost.
mkdir -- "$dir/claim" || exit 1
if [ -e "$dir/stdin" ]; then input=$dir/stdin; else input=/dev/null; fi
(
    if [ -n "$locale" ]; then LC_ALL=$locale; else unset LC_ALL; fi
    umask "$mask"
    exec "$@"
) <"$input" >"$dir/out" 2>"$dir/err"
status=$?
rm -f -- "$dir/stdin"
# Over the room reserved at the start.
printf '%s\n' "$status" 1<>"$dir/rc.new"
durable "$dir/out" "$dir/err" "$dir/rc.new"
mv -- "$dir/rc.new" "$dir/rc"
durable "$dir"
rm -f -- "$mark"
