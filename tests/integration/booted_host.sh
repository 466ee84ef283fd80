# The first process of a host that systemd runs; a script for scratch_root.sh. In /tmp/given are `local` (for /usr/local), `etc`,
# and in files the name of its group of processes, and where the libraries of Python are.
#
# A client is on the other end of its cable svc0; the cable to its peer leads to nobody.
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo 0 >"/sys/fs/cgroup/$(cat /tmp/given/group)/cgroup.procs"
umount /sys/fs/cgroup
exec unshare --net --cgroup --uts --ipc sh -eu -c '
	mount -t sysfs sysfs /sys
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	ip link set lo up
	ip netns add client
	ip link add svc0 type veth peer name svc0 netns client
	ip link add peer0 type veth peer name peer0 netns client
	for cable in svc0 peer0; do ip link set $cable up; ip -n client link set $cable up; done
	ip address add 10.77.0.1/24 dev svc0
	ip address add 10.78.0.1/24 dev peer0
	ip -n client address add 10.77.0.10/24 dev svc0
	rm -rf /etc/systemd/system /etc/fttcp
	cp -r /tmp/given/local/. /usr/local
	cp -r /tmp/given/etc/. /etc
	mkdir /usr/local/fttcp/site
	mount --bind "$(cat /tmp/given/site)" /usr/local/fttcp/site
	systemd-sysusers
	chown -R fttcp: /etc/fttcp
	exec env container=other /lib/systemd/systemd --system --unit=basic.target
'
