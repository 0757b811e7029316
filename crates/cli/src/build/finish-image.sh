# The last touch to a Debian image: everything that must differ between two VMs goes, and so does what would
# only make noise or wait in a VM that lives for minutes.
set -eu
root=$1

# The guest is given these at every start.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
: > "$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
rm -f "$root/etc/hostname" "$root/etc/hosts" "$root/etc/resolv.conf"
echo localhost > "$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
: > "$root/etc/resolv.conf"

# Nobody logs in with a password; root comes with a key.
chroot "$root" passwd --lock root > /dev/null
mkdir -p "$root/etc/ssh/sshd_config.d"
printf 'PermitRootLogin prohibit-password\nPasswordAuthentication no\n' > "$root/etc/ssh/sshd_config.d/banger.conf"
chroot "$root" systemctl --quiet enable ssh.service
chroot "$root" systemctl --quiet set-default multi-user.target

# Their work is for machines that live for months, or waits for what never comes here.
chroot "$root" systemctl --quiet mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-networkd-wait-online.service systemd-firstboot.service \
    serial-getty@ttyS0.service systemd-pcrphase.service systemd-pcrphase-sysinit.service

# A person works here as root: a prompt and colours as users have them.
cp "$root/etc/skel/.bashrc" "$root/root/.bashrc"
rm -f "$root"/var/log/*.log "$root"/var/log/apt/* "$root"/var/cache/debconf/*-old
