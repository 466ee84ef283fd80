#!/bin/sh
# `nft --json list tables` (and `list ruleset`) writes no JSON of a table's flags where it has an owner: in the place
# of ["owner"] stands whatever text lies in memory, another table's name here, or nothing, and then all of the output
# is no JSON. `nft list` in text is right. So a program that looks at the rules of a host, on which anybody may have a
# table with an owner, cannot read nft's JSON.
#
# Version: nftables 1.0.6 (Debian 1.0.6-2+deb12u2), Linux 6.18.44
# Seen: "flags": "second" of a table whose only flag is owner; "flags": "Lester Gooch #5" of the last one
set -eu
[ "${1-}" = inside ] || exec unshare --net --map-root-user "$0" inside
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkfifo "$work/words"
nft --interactive <"$work/words" >/dev/null 2>&1 & # the owner: tables of it live as long as it does
owner=$!
exec 3>"$work/words"
echo 'add table inet first { flags owner; }' >&3
echo 'add table inet second { flags owner; }' >&3
tries=0
while ! nft list tables | grep -q second; do
	tries=$((tries + 1))
	[ $tries -lt 200 ] || { echo "no tables with an owner here"; exit 1; }
	sleep 0.05
done
listed=$(nft --json list tables)
exec 3>&-
wait $owner || true
nft --version
echo "$listed"
case $listed in
*'"flags": ["owner"]'* | *'"flags": "owner"'*) echo "its JSON is right"; exit 1 ;;
*'"name": "first"'*'"flags": "second"'*) echo "another table's name stands in place of the flags" ;;
*) echo "neither right nor as it was seen"; exit 1 ;;
esac
