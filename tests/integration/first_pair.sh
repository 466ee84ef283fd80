#!/bin/bash
# Does what README.md says of two hosts, with the package in directory $1: hosts are network namespaces, each with an
# overlay over / as its disk; all of it in namespaces that end with this script. The unit's user and capabilities are
# given by setpriv, for there is no systemd.
set -euo pipefail
if [ $# = 1 ]; then
	place=$(mktemp -d)
	trap 'rmdir "$place"' EXIT
	unshare --mount --pid --fork --kill-child --propagation private "$0" "$1" "$place"
	exit
fi
readme=$(dirname "$0")/../../README.md
disks=$2
mount -t tmpfs tmpfs "$disks"
mount -t tmpfs tmpfs /run
mount -t proc proc /proc

mount_disk() { # NAME LOWER
	mkdir "$disks/$1" "$disks/$1.upper" "$disks/$1.work"
	mount -t overlay overlay -o "lowerdir=$2,upperdir=$disks/$1.upper,workdir=$disks/$1.work" "$disks/$1" || exit 77
	mount -t proc proc "$disks/$1/proc"
	for empty in tmp run; do mount -t tmpfs tmpfs "$disks/$1/$empty"; done
	mount --bind /dev "$disks/$1/dev"
}
clean=(env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root)
on() { # HOST COMMAND...
	local host=$1
	shift
	ip netns exec "$host" "${clean[@]}" chroot "$disks/$host" "$@"
}
block() { awk -v begin="^\`\`\`$1" '$0 ~ begin { on = 1; next } /^```/ { on = 0 } on' "$readme"; }
await() { # WHAT COMMAND...
	local what=$1
	shift
	for _ in $(seq 300); do
		if "$@"; then return; fi
		sleep 0.1
	done
	echo "waited in vain for: $what" >&2
	tail -n 20 "$disks"/*.log >&2
	exit 1
}

# the package, on a disk that both hosts have below theirs
mount_disk base /
cp "$1"/fttcp_*.deb "$disks/base/tmp"
"${clean[@]}" chroot "$disks/base" sh -c 'dpkg --install /tmp/fttcp_*.deb'
head -c 40M /dev/urandom >"$disks/base/usr/share/doc/large"
umount "$disks"/base/{tmp,run,dev,proc} "$disks/base"

# cables and addresses
for host in switch alpha beta client; do
	ip netns add $host
	ip -n $host link set lo up
done
ip -n switch link add name bridge0 type bridge
ip -n switch link set bridge0 up
number=11
for host in alpha beta client; do
	ip link add eth0 netns $host type veth peer name to-$host netns switch
	ip -n switch link set to-$host master bridge0 up
	ip -n $host link set eth0 up
	ip -n $host address add 192.0.2.$number/24 dev eth0
	ip -n $host address add 2001:db8::$number/64 dev eth0 nodad
	number=$((number + 1))
done
ip link add eth1 netns alpha type veth peer name eth1 netns beta
for host in alpha beta; do
	[ $host = alpha ] && number=1 || number=2
	ip -n $host link set eth1 up
	ip -n $host address add 10.78.0.$number/24 dev eth1
	ip -n $host address add fd78::$number/64 dev eth1 nodad
done

# configuration, as the text has it for alpha and tells for beta
block toml | sed -n '/^\[node\]/,$p' >"$disks/alpha.toml"
sed -e 's/"alpha"/"@"/; s/"beta"/"alpha"/; s/"@"/"beta"/' -e 's/fd78::2/fd78::1/; s/^priority = 200/priority = 100/' \
	-e '/^local/s/78\.0\.1/78.0.2/; /^local/s/2\.11/2.12/; /^remote/s/78\.0\.2/78.0.1/; /^remote/s/2\.12/2.11/' \
	"$disks/alpha.toml" >"$disks/beta.toml"
block nft >"$disks/alpha.nft"
sed '/saddr/s/10\.78\.0\.2/10.78.0.1/; /saddr/s/192\.0\.2\.12/192.0.2.11/' "$disks/alpha.nft" >"$disks/beta.nft"
for host in alpha beta; do
	mount_disk $host "$disks/base.upper:/"
	cp "$disks/$host.toml" "$disks/$host/etc/fttcp/node.toml"
	on $host nft --file - <"$disks/$host.nft"
	on $host install --directory --owner=fttcp /run/fttcp /var/lib/fttcp
done
on alpha sh -c 'fttcp keygen /etc/fttcp/key && chown fttcp: /etc/fttcp/key'
cp --preserve=all "$disks/alpha/etc/fttcp/key" "$disks/beta/etc/fttcp/key"

# first start
rights=-all,+net_admin,+net_raw,+sys_nice,+ipc_lock,+net_bind_service
as_unit=(setpriv --reuid fttcp --regid fttcp --clear-groups --no-new-privs
	--bounding-set "$rights" --inh-caps "$rights" --ambient-caps "$rights")
for host in alpha beta; do
	on $host fttcp check-config /etc/fttcp/node.toml
	(
		exec ip netns exec $host "${clean[@]}" chroot "$disks/$host" "${as_unit[@]}" \
			fttcp node --config /etc/fttcp/node.toml
	) >"$disks/$host.log" 2>&1 &
	echo $! >"$disks/$host.pid"
done
in_step() { on "$1" fttcp status 2>/dev/null | grep -q "heard), in step"; }
await "alpha in step" in_step alpha
await "beta in step" in_step beta
lane_up() { on "$1" fttcp status --json | tr -d ' \n' | grep -q '"bulk_lane":{"up":1,"wanted":1}'; }
await "the bulk lane through alpha's firewall" lane_up alpha
await "the bulk lane through beta's firewall" lane_up beta
is_primary() { on "$1" fttcp status | grep -q "role  *primary (paired)"; }
either() { is_primary alpha || is_primary beta; }
await "one to serve" either
first=alpha second=beta  # on a busy machine the other one may be up first, and serves
if is_primary beta; then first=beta second=alpha; fi

# first switchover, under a download
ip netns exec client curl --silent --fail --output /dev/null 'http://[2001:db8::100]/large'
ip netns exec client curl --silent --fail --limit-rate 8M --output "$disks/got" http://192.0.2.100/large &
download=$!
is_protected() { on $first fttcp connections | grep -q "80/tcp  protected"; }
await "a protected download" is_protected
on $second fttcp switchover web
await "the other one to serve" is_primary $second
wait $download
cmp "$disks/got" "$disks/base.upper/usr/share/doc/large"
echo "the download survived"

# and the end
for host in beta alpha; do
	kill "$(cat "$disks/$host.pid")"
	wait "$(cat "$disks/$host.pid")"
	tables=$(on $host nft list tables)
	rules=$(on $host ip rule)
	case "$tables $rules" in
	*fttcp* | *192.0.2.100*)
		echo "$tables $rules"
		exit 1
		;;
	esac
done
echo "nothing is left"
