#!/bin/sh
# Runs once inside a freshly unpacked base: turns it into an offline host whose software came as RPM packages.
set -eu
rm -rf /var/cache/apt/archives/*.deb
. /base_setup/base_common.sh
people

# As on a system of that family: one system-wide database, packages and repository signed, scriptlets run.
mkdir -p /etc/rpm /etc/yum.repos.d /etc/pki/rpm-gpg /var/lib/rpm /srv/repo /srv/hostile /srv/older
echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros
useradd --system --no-create-home --home-dir /var/lib/tallyd --shell /usr/sbin/nologin tally

# Two keys that live only while the base is made: the vendor's, and a stranger's.
export GNUPGHOME=/run/base-gpg
mkdir -m 0700 "$GNUPGHOME"
for name in vendor stranger; do
    gpg --batch --quiet --passphrase '' --quick-generate-key "$name@tally.example.invalid" rsa3072 sign never
    gpg --batch --armor --export "$name@tally.example.invalid" >"/etc/pki/rpm-gpg/RPM-GPG-KEY-$name"
done
mv /etc/pki/rpm-gpg/RPM-GPG-KEY-stranger /srv/hostile/

build() { # build FOLDER VERSION: every package; only the service depends on the version
    rpmbuild -bb --quiet --define "_rpmdir $1" --define "service_version $2" --define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
        /base_setup/tally.spec
}
sign() { # sign NAME FILES...
    signer=$1; shift
    rpmsign --define '__gpg /usr/bin/gpg' --define "_gpg_name $signer@tally.example.invalid" --addsign "$@" >/dev/null
}
build /srv/repo 2.1.0
mkdir /srv/hostile/unsigned /srv/hostile/stranger
cp /srv/repo/tallyd-*.rpm /srv/hostile/unsigned
cp /srv/repo/tallyd-*.rpm /srv/hostile/stranger
sign stranger /srv/hostile/stranger/*.rpm
build /run/newer 2.2.0
build /run/older 2.0.9
mv /run/newer/tallyd-*.rpm /srv/repo
mv /run/older/tallyd-*.rpm /srv/older
sign vendor /srv/repo/*.rpm /srv/older/*.rpm
createrepo_c --quiet /srv/repo
gpgconf --kill all
rm -rf "$GNUPGHOME" /run/newer /run/older /root/rpmbuild

cat >/etc/yum.repos.d/lab.repo <<'END'
[lab]
name=The laboratory's only repository
baseurl=file:///srv/repo
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-vendor
END
rpm --initdb
rpmkeys --import /etc/pki/rpm-gpg/RPM-GPG-KEY-vendor
dnf --assumeyes --quiet install tallyd-1:2.1.0-3 tally-libs tally-config tally-docs tally-tools tally-data tally-base
rpm --verify --all

systemctl disable tallyd.service
ready
rpm --verify --all
