"""The one command that collects a host's own state: sh, and whatever tools the host still has. It only reads.

Parts are `NUL name NUL value`; a NUL inside a file becomes DEL, so that it cannot end a part. A tool that is missing
leaves its part out and is named in `missing`: what was not checked is said, never passed.
"""

from __future__ import annotations

SCRIPT = r"""
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin; export LC_ALL PATH
watch=" $1 "; shift
part() { printf '\0%s\0' "$1"; }
# A tool is tried on a known answer first: on a damaged host one that lies is worse than none.
works() { [ "$(printf abc | "$@" 2>/dev/null)" = axc ]; }
if works tr b x; then clean() { tr '\000' '\177'; }; else clean() { cat; }; fi
edit=; if works sed s/b/x/; then edit=yes; fi
show() { [ -f "$1" ] && clean <"$1"; }
has() { command -v "$1" >/dev/null 2>&1; }
wants() { case $watch in *" $1 "*) return 0 ;; esac; return 1; }
part began; date +%s.%N
part missing; for tool in find stat tr head od grep; do has "$tool" || printf '%s\n' "$tool"; done
[ -n "$edit" ] || echo sed
part container
if [ -r /proc/1/environ ]; then tr '\000' '\n' </proc/1/environ | sed -n 's/^container=//p'; fi
show /run/systemd/container
part units
if has systemctl; then systemctl list-units --all --plain --no-legend --no-pager --full 2>&1; part unitsrc; echo $?; fi
if wants disks || wants boot; then
    part mounts; cat /proc/self/mountinfo
    part fstab; show /etc/fstab
fi
if wants disks; then
    part space
    while read -r id parent device root mount options rest; do
        type=${rest#*- }; type=${type%% *}
        case $type in
            nfs*|cifs|smb*|ceph|9p|afs|fuse*|proc|sysfs|cgroup*|devpts|mqueue|debugfs|tracefs|securityfs) continue ;;
            pstore|bpf|configfs|hugetlbfs|autofs|binfmt_misc|rpc_pipefs|nsfs|ramfs|efivarfs|selinuxfs) continue ;;
            squashfs|iso9660|erofs) continue ;;
        esac
        [ "$root" = / ] || case $type in btrfs) ;; *) continue ;; esac
        place=$(printf '%bx' "$mount"); place=${place%x}
        stat -f -c '%S %b %a %c %d' -- "$place" 2>/dev/null | sed "s|\$| $device|"
    done </proc/self/mountinfo
    part kernel
    { dmesg 2>/dev/null || journalctl -k -n 2000 --no-pager -o cat 2>/dev/null; } |
        grep -E -e 'I/O error|media error|[Rr]emounting filesystem read-only|EXT[234]-fs error' \
            -e 'XFS .*([Ee]rror|[Ss]hutdown)|BTRFS.*(error|forced readonly)' |
        tail -n 40 | clean
fi
if wants clock; then
    part synchronized; if [ -e /run/systemd/timesync/synchronized ]; then echo timesyncd; fi
    part chrony; if has chronyc && has timeout; then timeout 5 chronyc -n -c tracking 2>/dev/null; fi
fi
if wants certificates; then
    # Certificates and nothing else: a private key in the same file stays where it is.
    certificates() {
        head -c 262144 -- "$1" | sed -n -e '/-----BEGIN CERTIFICATE-----/,/-----/p' -e '/-----BEGIN [A-Z ]*KEY-----/p' \
            -e '/-----BEGIN [A-Z ]*PARAMETERS-----/p' | clean
    }
    [ -n "$edit" ] || set --
    for pattern; do
        IFS=; set -- $pattern; unset IFS
        for file; do
            if [ -f "$file" ]; then part "pem $file"; certificates "$file"
            elif [ "$file" = "$pattern" ]; then part "absent $file"; fi
        done
    done
    named='ssl_certificate|SSLCertificateFile|smtpd_tls_cert_file|ssl_cert|ssl_cert_file'
    grep -rhsoE "^[[:space:]]*($named)[[:space:]=]+[^;[:space:]]+" \
        /etc/nginx /etc/apache2 /etc/httpd /etc/postfix/main.cf /etc/dovecot /etc/postgresql /etc/mysql 2>/dev/null |
        grep -v '^[[:space:]]*#' | sed "s/.*[[:space:]=]//; s/^[<\"']*//; s/[\"']\$//" | sort -u | head -n 200 |
        while IFS= read -r file; do
            case $file in /*) if [ -f "$file" ]; then part "pem $file"; certificates "$file"; fi ;; esac
        done
fi
if wants units; then
    part unitfiles
    find /etc/systemd/system /usr/local/lib/systemd/system -mindepth 1 ! -name '*
*' -printf '%y\t%m\t%U\t%G\t%s\t%T@\t%p\t%l\n' 2>/dev/null
    find /run/systemd/system -mindepth 1 -maxdepth 1 -type l -printf '%y\t%m\t%U\t%G\t%s\t%T@\t%p\t%l\n' 2>/dev/null
    part vendor; ls -1 /usr/lib/systemd/system /lib/systemd/system 2>/dev/null
    find /etc/systemd/system /usr/local/lib/systemd/system -type f -size -129 ! -name '*
*' -print 2>/dev/null | while IFS= read -r file; do part "unit $file"; show "$file"; done
fi
if wants accounts; then
    part accountfiles
    for file in passwd group shadow gshadow sudoers; do
        [ -e "/etc/$file" ] || continue
        stat -c '%a %u %g %s %n' -- "/etc/$file" 2>/dev/null || printf -- '- - - - /etc/%s\n' "$file"
    done
    part passwd; show /etc/passwd
    part group; show /etc/group
    # Without hashes of passwords; where sed does not work, not at all.
    [ -z "$edit" ] || { part shadow; show /etc/shadow | sed -E 's/^([^:]*):[^:]+/\1:*/'; }
    [ -z "$edit" ] || { part gshadow; show /etc/gshadow | sed -E 's/^([^:]*):[^:]+/\1:*/'; }
    part sudoers; show /etc/sudoers
    for file in /etc/sudoers.d/*; do
        case ${file##*/} in *.*|*'~') continue ;; esac
        if [ -f "$file" ]; then part "sudoers $file"; show "$file"; fi
    done
    if has visudo; then part visudo; visudo -c 2>&1 | clean; fi
fi
if wants boot; then
    part release; uname -r
    part modules; if [ -e /proc/modules ]; then echo loadable; fi; ls -1 /lib/modules 2>/dev/null
    part bootfiles; find -L /boot /vmlinuz /initrd.img /efi -maxdepth 4 -type f -printf '%s\t%T@\t%p\n' 2>/dev/null
    part magic
    find -L /boot -maxdepth 3 -type f \( -name 'vmlinu*' -o -name 'initr*' -o -name linux -o -name 'kernel*' \) \
        -print 2>/dev/null |
        while IFS= read -r file; do
            printf '%s\t%s\n' "$(head -c 520 -- "$file" | od -An -v -tx1 | tr -d ' \n')" "$file"
        done
    part owners
    for file in /boot/vmlinu*; do
        [ -e "$file" ] || continue
        list=$(grep -lxF -- "$file" /var/lib/dpkg/info/*.list 2>/dev/null | head -n 1)
        [ -n "$list" ] || continue
        package=${list##*/}; package=${package%.list}
        printf '%s\t%s\t%s\n' "$file" "${package%:*}" "$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null)"
    done
    for file in /boot/grub/grub.cfg /boot/grub2/grub.cfg /boot/loader/entries/*.conf \
        /boot/efi/loader/entries/*.conf; do
        if [ -f "$file" ]; then part "entry $file"; show "$file"; fi
    done
    part devices
    if [ -f /etc/fstab ]; then
        while read -r spec mount type options rest; do
            case $spec in
                UUID=*) path=/dev/disk/by-uuid/${spec#*=} ;;
                LABEL=*) path=/dev/disk/by-label/${spec#*=} ;;
                PARTUUID=*) path=/dev/disk/by-partuuid/${spec#*=} ;;
                PARTLABEL=*) path=/dev/disk/by-partlabel/${spec#*=} ;;
                /dev/*) path=$spec ;;
                *) continue ;;
            esac
            if [ -e "$path" ]; then printf 'there\t%s\n' "$spec"; else printf 'absent\t%s\n' "$spec"; fi
        done </etc/fstab
    fi
    part bydisk; if [ -d /dev/disk/by-uuid ]; then echo yes; fi
    if has sshd; then part sshd; sshd -t 2>&1 | clean; part sshdrc; sshd -t >/dev/null 2>&1; echo $?; fi
fi
part ended; date +%s.%N
part end
exit 0
"""
