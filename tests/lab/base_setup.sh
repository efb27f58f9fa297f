#!/bin/sh
# Runs once inside a freshly unpacked base: turns it into an offline host that other tests can rely on.
set -eu

# Packages: the pool in /srv/pool is the only source, so every repair is offline and deterministic.
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap /var/lib/apt/lists/*
mkdir -p /var/lib/apt/lists/partial
echo 'deb [signed-by=/etc/apt/keyrings/lab.gpg] file:/srv/pool ./' >/etc/apt/sources.list
apt-get update

# People: root and ops come with a key (written into each clone), ops may become root, nosudo may not.
for person in ops nosudo; do
    useradd --create-home --shell /bin/bash "$person"
    install -d -m 0700 -o "$person" -g "$person" "/home/$person/.ssh"
done
install -d -m 0700 /root/.ssh
echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops
chmod 0440 /etc/sudoers.d/ops

rm -f /etc/ssh/ssh_host_*
cat >/etc/ssh/sshd_config.d/lab.conf <<'EOF'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 100:30:200
MaxSessions 50
EOF

# PostgreSQL: Unicode and page checksums, which the package's own first cluster has not when built in a bare locale.
version=$(pg_lsclusters -h | awk '{ print $1; exit }')
pg_dropcluster "$version" main
pg_createcluster --locale C.UTF-8 "$version" main -- --data-checksums --no-sync

# Boot: nothing runs but what a test starts, and no timer changes a host in the middle of a test.
systemctl disable nginx.service postgresql.service
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
systemctl enable systemd-networkd.service
systemctl disable systemd-networkd-wait-online.service
systemctl set-default multi-user.target

apt-get check
rm -f /etc/resolv.conf /etc/machine-id /var/lib/dbus/machine-id
: >/etc/machine-id
