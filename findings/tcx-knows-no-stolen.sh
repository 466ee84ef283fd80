#!/bin/sh
# A program at tcx that returns TC_ACT_STOLEN, as at clsact, does not take the packet away: it passes (linux/bpf.h: of a
# number that is no enum tcx_action_base, tcx makes TCX_NEXT). TCX_DROP takes it away and tells the sender an error, at
# which TCP stays where it is. A redirect to interface 0, which is none, takes it away and tells nobody.
#
# Version: Linux 6.18.44, clang 14.0.6, libbpf 1.1.2 (Debian 12: clang, gcc, libbpf-dev)
# Seen: of 10 packets arrived with STOLEN 10, DROP 0, redirect 0; errors 0, 10, 0
set -eu
[ "${1:-}" = inside ] || {
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	cat >"$work/returns.bpf.c" <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tc") int stolen(struct __sk_buff *skb) { return skb->protocol == 8 ? 4 : -1; }
SEC("tc") int drop(struct __sk_buff *skb) { return skb->protocol == 8 ? 2 : -1; }
SEC("tc") int redirect(struct __sk_buff *skb) { return skb->protocol == 8 ? bpf_redirect(0, 0) : -1; }
char terms[] SEC("license") = "GPL";
C
	cat >"$work/send.c" <<'C'
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TCX_EGRESS 47

int main(int argc, char **argv)
{
	struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7000)};
	int s = socket(AF_INET, SOCK_DGRAM, 0), on = 1, errors = 0;

	if (argc != 3 || !object || bpf_object__load(object))
		return 1;
	inet_pton(AF_INET, "192.0.2.2", &to.sin_addr);
	setsockopt(s, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)); /* errors of the way out are told */
	if (bpf_link_create(bpf_program__fd(bpf_object__find_program_by_name(object, argv[2])), if_nametoindex("eth0"), TCX_EGRESS, NULL) < 0)
		return 1;
	for (int i = 0; i < 10; i++)
		errors += sendto(s, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) < 0;
	printf("%d\n", errors);
	return 0;
}
C
	clang -O2 -g -target bpf -I"/usr/include/$(gcc -print-multiarch)" -c "$work/returns.bpf.c" -o "$work/returns.bpf.o"
	gcc -o "$work/send" "$work/send.c" -lbpf
	unshare -n sh "$0" inside "$work"
	exit
}
unshare -n sleep infinity &
other=$!
trap 'kill $other' EXIT
while [ "$(readlink /proc/$other/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
ip link add eth0 type veth peer name eth0 netns $other
ip addr add 192.0.2.1/24 dev eth0
ip link set eth0 up
nsenter -t $other -n sh -c 'ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up; iptables -A INPUT -p udp --dport 7000 -j DROP'
ip neigh replace 192.0.2.2 lladdr "$(nsenter -t $other -n ip -br link show eth0 | awk '{ print $3 }')" dev eth0
arrived() {
	nsenter -t $other -n iptables -vnxL INPUT | awk '/dpt:7000/ { print $1 }'
}
before=0
for how in stolen drop redirect; do
	errors=$("$2/send" "$2/returns.bpf.o" $how)
	now=$(arrived)
	echo "$how: $((now - before)) of 10 arrived, $errors errors"
	eval "$how=\$((now - before)):\$errors"
	before=$now
done
[ "$stolen $drop $redirect" = "10:0 0:10 0:0" ]
