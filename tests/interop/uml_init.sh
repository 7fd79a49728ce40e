#!/bin/sh
# Process 1 of the guest, copied into its work directory. The host's / is its own, read-only; the work
# directory is mounted once more, writable: `settings` and `modules` come from there, `command` is run,
# and its exit status goes to `status`.
work=$(dirname "$0")
. "$work/settings"
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t hostfs -o "$work" none "$work"
mkdir -p /run/netns /dev/shm/home
"$peer/kmod/sbin/modprobe" -d "$peer" -a $(cat "$work/modules") || echo "uml: a module is missing"
ip link set lo up
echo "uml: ready at $(cut -d' ' -f1 /proc/uptime) s"
sh "$work/command" </dev/null
echo $? >"$work/status"
echo "uml: ended at $(cut -d' ' -f1 /proc/uptime) s"
sync
exec "$peer/busybox/bin/busybox" poweroff -f
