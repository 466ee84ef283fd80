#!/bin/sh
# Runs a script (standard input) in a copy of this machine's files that is thrown away: an overlay over /, in a
# mount namespace of its own, with empty /run and /tmp. The directory $1 is seen there as /tmp/given.
set -eu
place=$(mktemp -d)
trap 'rmdir "$place"' EXIT
# shellcheck disable=SC2016
unshare --mount --pid --fork --kill-child --propagation private sh -c '
	set -eu
	mount -t tmpfs tmpfs "$1"
	mkdir "$1/upper" "$1/work" "$1/root"
	mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root" || exit 77
	for empty in tmp run; do mount -t tmpfs tmpfs "$1/root/$empty"; done
	for shared in dev sys; do mount --bind /$shared "$1/root/$shared"; done
	mount -t proc proc "$1/root/proc"
	mkdir "$1/root/tmp/given"
	mount --bind "$2" "$1/root/tmp/given"
	# Not chroot alone: who enters this namespace anew (nsenter) must find the same root.
	cd "$1/root"
	mkdir tmp/outside
	pivot_root . tmp/outside
	umount --lazy tmp/outside
	rmdir tmp/outside
	exec chroot . env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root sh -eu
' - "$place" "$1"
