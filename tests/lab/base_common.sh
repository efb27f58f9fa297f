# Shared by the set-up scripts of all bases: people, SSH, boot.

# root and ops come with a key (written into each clone), ops may become root, nosudo may not.
people() {
    for person in ops nosudo; do
        useradd --create-home --shell /bin/bash "$person"
        install -d -m 0700 -o "$person" -g "$person" "/home/$person/.ssh"
    done
    install -d -m 0700 /root/.ssh
    echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops
    chmod 0440 /etc/sudoers.d/ops
    rm -f /etc/ssh/ssh_host_*
    cat >/etc/ssh/sshd_config.d/lab.conf <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 100:30:200
MaxSessions 50
END
}

# Nothing runs but what a test starts, no timer changes a host in the middle of a test, and it has no identity yet.
ready() {
    systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
    systemctl enable systemd-networkd.service
    systemctl disable systemd-networkd-wait-online.service
    systemctl set-default multi-user.target
    rm -f /etc/resolv.conf /etc/machine-id /var/lib/dbus/machine-id
    : >/etc/machine-id
}
