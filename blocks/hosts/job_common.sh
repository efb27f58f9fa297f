# Shared by job.sh and job_runner.sh. POSIX sh; needs mkdir, mv, rm, cat, date, sleep and sync.

# stamp PID: sets $stamp to what tells this process from a later one with its number; fails when it does not run.
stamp() {
    if [ -r /proc/self/stat ]; then
        { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
        read -r boot </proc/sys/kernel/random/boot_id
        # After the name in parentheses: state is word 1, start time word 20.
        set -- ${line##*) }
        case $1 in Z | X) return 1 ;; esac
        stamp="$boot ${20}"
    else
        set -- $(ps -o lstart= -p "$1")
        stamp=$*
        [ -n "$stamp" ]
    fi
}

# durable FILE...: returns when the files are on disk.
durable() {
    sync -- "$@" 2>/dev/null || sync
}

nap() {
    sleep "$1" 2>/dev/null || sleep 1
}
