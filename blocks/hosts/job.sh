# Starts a named job unless it was started before, waits for it, and prints how it stands.
# Words printed, one line each: short | locked | unreadable | gone | fenced TOKEN | busy NAME TOKEN | wait AGE | lost WHY |
# running | done STATUS OUT_BYTES ERR_BYTES, then the output (stdout and stderr of this script).
# Exit status 73: our own files could not be written; stderr says why.
set -f
runner=$1 state=$2 name=$3 token=$4 bytes=$5 slot=$6 limit=$7 shown=$8
shift 8
locale=${LC_ALL-} mask=$(umask)
LC_ALL=C
export LC_ALL
umask 077
jobs=$state/jobs dir=$state/jobs/$name staged=$state/jobs/.$name.$$

lock() {
    tries=0
    if command -v flock >/dev/null 2>&1; then
        exec 9>>"$state/lock" || exit 73
        until flock -n 9; do retry_lock; done
    else
        until mkdir "$state/lock.d" 2>/dev/null; do retry_lock; done
        locked=1
    fi
}

retry_lock() {
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo locked; exit 0; }
    nap 0.1
}

unlock() {
    exec 9>&-
    if [ -n "${locked-}" ]; then rmdir "$state/lock.d"; locked=; fi
}

leave() {
    rm -f -- "$staged"
    unlock
}

# group_alive PID: whether any process of that session or group runs, when its leader is gone.
group_alive() {
    if [ ! -r /proc/self/stat ]; then
        kill -s 0 -- "-$1" 2>/dev/null
        return
    fi
    leader=$1
    set +f
    set -- /proc/[0-9]*
    set -f
    for process; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        rest=${line##*) }
        case $rest in
        Z* | X*) ;;
        ?" "*" $leader "*)
            # Parent, group and session are words 2 to 4.
            member $rest && return 0
            ;;
        esac
    done
    return 1
}

member() { [ "$3" = "$leader" ] || [ "$4" = "$leader" ]; }

# alive DIR: whether the job of that directory still runs.
alive() {
    { read -r pid since born <"$1/pid"; } 2>/dev/null || return 1
    stamp "$pid" && [ "$stamp" = "$born" ] && return 0
    # The runner is gone. What it started may go on, but not over a reboot.
    if [ -r /proc/self/stat ]; then
        read -r boot </proc/sys/kernel/random/boot_id
        [ "${born%% *}" = "$boot" ] || return 1
    fi
    group_alive "$pid"
}

# forbid DIR: succeeds when the job had not begun; then it never will.
forbid() {
    mkdir -- "$1/claim" 2>/dev/null && : >"$1/lost"
}

# over NAME: whether that job has ended, well or not; decides for good that one which never began will not begin.
over() {
    if [ -e "$jobs/$1/rc" ]; then return 0; fi
    if [ ! -e "$jobs/$1/pid" ] && forbid "$jobs/$1"; then return 0; fi
    ! alive "$jobs/$1"
}

# admitted: whether this token may start something now; raises the fence. Called under the lock.
admitted() {
    fence=0
    if [ -e "$state/fence" ]; then read -r fence <"$state/fence" || fence=; fi
    case $fence in '' | *[!0-9]*) echo unreadable; return 1 ;; esac
    if [ "$fence" -gt "$token" ]; then echo "fenced $fence"; return 1; fi
    if [ "$fence" -lt "$token" ]; then
        { echo "$token" >"$state/fence.new" && durable "$state/fence.new" && mv -f "$state/fence.new" "$state/fence"; } ||
            exit 73
    fi
    set +f
    for mark in "$state"/running/*; do
        set -f
        [ -e "$mark" ] || continue
        other=${mark##*/}
        if over "$other"; then rm -f -- "$mark"; continue; fi
        { read -r theirs <"$mark"; } 2>/dev/null || theirs=
        [ "$theirs" = "$token" ] || { echo "busy $other $theirs"; return 1; }
    done
    return 0
}

# prepare: everything that is written before the job may begin, so that a full disk stops it here.
prepare() {
    printf '%s\n' "$shown" >"$dir/argv" &&
        # Room for the status, so that a disk filled by the job does not lose it.
        printf '%10s\n' '' >"$dir/rc.new" &&
        { [ "$bytes" = - ] || mv -- "$staged" "$dir/stdin"; } &&
        sweep &&
        mkdir -p -- "$state/running" &&
        printf '%s\n' "$token" >"$state/running/$name" &&
        printf '%s %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$token" "$name" >>"$state/trace" &&
        durable "$state/trace" "$dir" "$jobs"
}

# sweep: removes what killed starters of this job left of its input.
sweep() {
    set +f
    rm -f -- "$jobs/.$name".*
    set -f
}

detached() {
    if command -v setsid >/dev/null 2>&1; then
        exec setsid "$@"
    elif command -v perl >/dev/null 2>&1; then
        exec perl -MPOSIX -e 'POSIX::setsid(); exec {$ARGV[0]} @ARGV' -- "$@"
    fi
    exec nohup "$@"
}

begin() {
    # Without the lock's descriptor, which would hold the lock as long as the job runs.
    (detached sh -c "$runner" reinstate "$dir" "$state/running/$name" "$mask" "$locale" "$@") \
        9>&- </dev/null >/dev/null 2>"$dir/runner.err" &
    tries=0
    until [ -e "$dir/pid" ] || [ "$tries" -ge 250 ]; do
        tries=$((tries + 1))
        if [ "$tries" -lt 10 ]; then nap 0.005; else nap 0.02; fi
    done
}

start() {
    mkdir -p -- "$jobs" || exit 73
    trap leave EXIT
    # PIPE: who speaks to a lost connection must still give back the lock and remove the input.
    trap 'exit 1' HUP INT TERM PIPE
    if [ "$bytes" != - ]; then
        cat >"$staged" || exit 73
        [ "$(wc -c <"$staged")" -eq "$bytes" ] || { echo short; exit 0; }
    fi
    lock
    if [ ! -d "$dir" ]; then
        admitted || exit 0
        # The one act that decides who starts it.
        mkdir -- "$dir" || exit 73
        prepare || { rm -rf -- "$dir" "$state/running/$name"; exit 73; }
        begin "$@"
    fi
    leave
    trap - EXIT HUP INT TERM PIPE
}

lost() {
    rm -f -- "$dir/stdin"
    echo "lost $1"
    exit 0
}

finished() {
    read -r status <"$dir/rc"
    echo "done $status $(wc -c <"$dir/out") $(wc -c <"$dir/err")"
    head -c "$limit" "$dir/out"
    head -c "$limit" "$dir/err" >&2
    exit 0
}

[ -d "$dir" ] || start "$@"
began=$(date +%s) told='' polls=0 missing=0
while :; do
    [ ! -e "$dir/rc" ] || finished
    now=$(date +%s)
    if [ ! -e "$dir/pid" ]; then
        # A starter has five seconds; after that whoever makes `claim` first decides.
        if [ ! -d "$dir" ]; then echo gone; exit 0; fi
        if [ -e "$dir/lost" ] || { [ "$missing" -ge 10 ] && forbid "$dir"; }; then lost 'it never began'; fi
        [ "$missing" -lt 20 ] || lost 'it began and left no process'
        missing=$((missing + 1))
        nap 0.5
        continue
    fi
    if ! alive "$dir"; then
        [ ! -e "$dir/rc" ] || finished
        lost 'its process ended without a result'
    fi
    if [ "$now" != "$told" ]; then
        # Fails when nobody listens any more.
        echo "wait $((now - since))" || exit 1
        told=$now
    fi
    [ $((now - began)) -lt "$slot" ] || { echo running; exit 0; }
    polls=$((polls + 1))
    if [ "$polls" -lt 10 ]; then nap 0.005
    elif [ "$polls" -lt 30 ]; then nap 0.02
    elif [ "$polls" -lt 70 ]; then nap 0.1
    else nap 0.5; fi
done
