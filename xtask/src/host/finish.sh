# Makes a test host of freshly installed packages, and a disk of that; `$1` is the root folder.
set -eu
root=$1

echo test-host > "$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n127.0.1.1\ttest-host\n' > "$root/etc/hosts"
: > "$root/etc/fstab"

# QEMU's user network hands out this address alone, and reaches nothing.
cat > "$root/etc/systemd/network/10-qemu.network" <<'END'
[Match]
Name=e*
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
DNS=10.0.2.3
END

printf '%s\n' kvm_amd tun loop dm_snapshot vhost_vsock > "$root/etc/modules-load.d/test-host.conf"

# An ordinary user as an installed desktop has them, and an administrator without a password.
chroot "$root" useradd --create-home --uid 1000 --groups kvm,sudo --shell /bin/bash dev
grep -q '^dev:' "$root/etc/subuid" || echo dev:100000:65536 | tee -a "$root/etc/subuid" >> "$root/etc/subgid"
echo 'dev ALL=(ALL) NOPASSWD: ALL' > "$root/etc/sudoers.d/dev"
chmod 0440 "$root/etc/sudoers.d/dev"
for home in root home/dev; do
    install -d -m 0700 "$root/$home/.ssh"
    echo "$BANGER_HOST_KEY" > "$root/$home/.ssh/authorized_keys"
done
chroot "$root" chown -R dev:dev /home/dev/.ssh
printf 'PasswordAuthentication no\nUseDNS no\n' > "$root/etc/ssh/sshd_config.d/test-host.conf"

# Says so on the second serial port when commands can be run.
cat > "$root/etc/systemd/system/ready.service" <<'END'
[Unit]
Description=Tells that this host is up
After=ssh.service systemd-modules-load.service systemd-user-sessions.service systemd-resolved.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo ready > /dev/ttyS1'
[Install]
WantedBy=multi-user.target
END

chroot "$root" systemctl --quiet set-default multi-user.target
chroot "$root" systemctl --quiet enable ssh.service systemd-networkd.service systemd-resolved.service ready.service
# The first two are started by the tests about living beside them. A getty on the console would garble its log. The
# others wait for a network, or work for machines that live for months.
chroot "$root" systemctl --quiet mask \
    docker.service docker.socket containerd.service firewalld.service \
    serial-getty@ttyS0.service getty@tty1.service \
    systemd-networkd-wait-online.service systemd-timesyncd.service systemd-firstboot.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer man-db.timer logrotate.timer

# An initrd of what QEMU's machine needs and no more: unpacking the usual one takes longer than the rest of the boot.
echo MODULES=list > "$root/etc/initramfs-tools/conf.d/test-host"
printf '%s\n' virtio_pci virtio_blk > "$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u > /dev/null

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
