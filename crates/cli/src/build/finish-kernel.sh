# Unpacking a kernel's package unpacks what it depends on as well; none of that is needed to boot. `etc` and `var`
# stay because the build itself still works with them.
set -eu
cd "$1"
rm -rf bin sbin lib32 lib64 libx32
for folder in lib usr/lib; do
    if [ -d "$folder" ]; then
        find "$folder" -mindepth 1 -maxdepth 1 ! -name modules -exec rm -rf {} +
    fi
done
if [ -d usr ]; then
    find usr -mindepth 1 -maxdepth 1 ! -name lib -exec rm -rf {} +
fi
test -n "$(find boot -maxdepth 1 -name 'vmlinuz-*' -print -quit)"
