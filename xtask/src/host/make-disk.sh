# Makes a disk of a finished root folder, `$1`, and leaves it there as /disk.img, with kernel and initrd beside it.
set -eu
root=$1

# Outside of the folder while it is made, or it would hold itself.
disk=$(mktemp)
bare=$(mktemp -d)
trap 'rm -f "$disk"; rmdir "$bare"' EXIT
# Room for the file system's own tables and a journal; it is grown later.
size=$(($(du -sm --one-file-system "$root" | cut -f1) * 115 / 100 + 96))
# Another view of the folder, in which nothing is mounted on its /proc, /sys and /dev.
unshare --mount sh -euc '
    mount --bind "$1" "$2"
    mke2fs -q -F -t ext4 -L test-host -d "$2" "$3" "$4"
' make-disk "$root" "$bare" "$disk" "${size}M"
mv "$disk" "$root/disk.img"
cp "$root"/boot/vmlinuz-* "$root/vmlinuz-to-boot"
cp "$root"/boot/initrd.img-* "$root/initrd-to-boot"
