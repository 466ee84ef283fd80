"""Service addresses as records of a name: by dynamic updates (RFC 2136), signed by TSIG (RFC 8945)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from fttcp.spread.member import Member, SpreadError

if TYPE_CHECKING:
    from dns.message import Message
    from dns.tsig import Key
    from dns.update import UpdateMessage

_TIMEOUT_S = 5.0
_GONE = "no group"
_NOBODY = {True: "nobody serves it", False: "not known who serves it"}
_KEY = re.compile(r'key\s+"?([^\s"{]+)"?\s*\{(.*?)\}\s*;', re.S)
_FIELD = re.compile(r'\b(algorithm|secret)\s+"?([^\s";]+)"?\s*;')
_WORD_OR_COMMENT = re.compile(r'("[^"]*"|[^\s"/#;{}][^\s";{}]*)|/\*.*?\*/|//[^\n]*|#[^\n]*', re.S)
"""A word may have `//` in it, as secrets do."""
_ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1")
_OTHERS_READ = 0o007


@dataclass(frozen=True, slots=True)
class DnsName:
    """A name whose A and AAAA records are the addresses of groups that are served.

    A TXT record beside it, `_fttcp.NAME`, says which cluster it belongs to. Each update has it as its
    prerequisite: a name that has addresses of somebody else is never touched. Addresses that are none of
    ours are left alone, and so is the last one of a kind: that there is none would be kept for long by others
    (RFC 2308).
    """

    cluster: str
    name: str
    zone: str
    ttl: int
    server: tuple[str, int]
    key_file: Path | None

    def lines(self, members: Sequence[Member]) -> list[str]:
        """Return records for a zone file; what nobody serves is a comment."""
        return [
            f"{'' if member.by else '; '}{self.name} {self.ttl} IN {_type(member)} {member.address}"
            f"  ; {member.group or _GONE}: {member.by or _NOBODY[member.certain]}"
            for member in members
        ]

    def apply(self, members: Sequence[Member]) -> None:
        """Add what is served, take out what is not. Raises SpreadError."""
        key = None if self.key_file is None else read_key(self.key_file)
        # a name of ours; one that is nobody's; one that another node has just taken for this cluster
        for require in (self._require_ours, self._claim, self._require_ours):
            update = self._update(key)
            require(update)
            self._change(update, members)
            refused = self._send(update, key)
            if not refused:
                return
        raise SpreadError(
            f"{self.name} has records, or `{self._marker} TXT`, that are not of cluster {self.cluster}: "
            "take them out, or choose another name"
        )

    @property
    def _marker(self) -> str:
        return f"_fttcp.{self.name}"

    @property
    def _owner(self) -> str:
        return f'"cluster={self.cluster}"'

    def _update(self, key: Key | None) -> UpdateMessage:
        from dns.update import UpdateMessage

        return UpdateMessage(self.zone, keyring=key)

    def _require_ours(self, update: UpdateMessage) -> None:
        update.present(self._marker, "TXT", self._owner)

    def _claim(self, update: UpdateMessage) -> None:
        for kind in ("A", "AAAA", "CNAME"):
            update.absent(self.name, kind)
        update.absent(self._marker, "TXT")
        update.add(self._marker, self.ttl, "TXT", self._owner)

    def _change(self, update: UpdateMessage, members: Sequence[Member]) -> None:
        stay = {_type(member) for member in members if member.by}
        for member in members:
            if member.by:
                update.add(self.name, self.ttl, _type(member), member.address)
            elif member.certain and _type(member) in stay:
                update.delete(self.name, _type(member), member.address)

    def _send(self, update: UpdateMessage, key: Key | None) -> bool:
        """Return True if its prerequisite does not hold. Raises SpreadError."""
        from dns import rcode

        answer = self._exchange(update)
        code = answer.rcode()
        if code in (rcode.YXRRSET, rcode.NXRRSET):
            return True
        if code != rcode.NOERROR:
            raise SpreadError(f"{self._where}: {rcode.to_text(code)}: {_todo(self.zone, code)}")
        if key is not None and not answer.had_tsig:
            raise SpreadError(f"{self._where}: the answer is not signed: is it the right server?")
        return False

    @property
    def _where(self) -> str:
        return f"DNS server {self.server[0]} port {self.server[1]}, zone {self.zone}"

    def _exchange(self, update: UpdateMessage) -> Message:
        from dns import query, tsig
        from dns.exception import DNSException, Timeout

        address, port = self.server
        try:
            return query.tcp(update, address, _TIMEOUT_S, port)
        except tsig.PeerBadTime as error:
            why = "its clock and this host's are apart: run chrony on both"
            raise SpreadError(f"{self._where}: BADTIME: {why}") from error
        except tsig.PeerError as error:
            word = {tsig.PeerBadKey: "BADKEY", tsig.PeerBadSignature: "BADSIG"}.get(type(error), str(error))
            why = f"it does not know the key in {self.key_file}"
            todo = "name, algorithm and secret must be the same there"
            raise SpreadError(f"{self._where}: {word}: {why}: {todo}") from error
        except Timeout as error:
            raise SpreadError(f"{self._where}: no answer within {_TIMEOUT_S:g} s (TCP)") from error
        except (OSError, EOFError) as error:
            raise SpreadError(f"{self._where}: {error or 'it closed the connection'}") from error
        except DNSException as error:
            raise SpreadError(f"{self._where}: the answer cannot be believed: {error}") from error


def _type(member: Member) -> str:
    return "A" if ip_address(member.address).version == 4 else "AAAA"


def _todo(zone: str, code: int) -> str:
    from dns import rcode

    if code in (rcode.REFUSED, rcode.NOTAUTH):
        return f"let this key update it there (BIND: `allow-update` or `update-policy` of zone {zone})"
    if code == rcode.NOTZONE:
        return "the name is not in this zone: correct `zone`"
    return "its log tells why"


def read_key(file: Path) -> Key:
    """Return the one key of a file as `tsig-keygen` writes it. Raises SpreadError."""
    from dns.exception import DNSException
    from dns.tsig import Key

    try:
        if file.stat().st_mode & _OTHERS_READ:
            raise SpreadError(f"{file}: everybody may read or write it: chmod o= {file}")
        text = _WORD_OR_COMMENT.sub(r"\1", file.read_text(encoding="ascii"))
    except OSError as error:
        raise SpreadError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpreadError(f"{file}: no text") from error
    keys = [(name, dict(_FIELD.findall(body))) for name, body in _KEY.findall(text)]
    if len(keys) != 1 or keys[0][1].keys() != {"algorithm", "secret"}:
        raise SpreadError(f"{file}: not one key with algorithm and secret: `tsig-keygen NAME` writes one")
    [(name, fields)] = keys
    if fields["algorithm"].lower() not in _ALGORITHMS:
        known = ", ".join(_ALGORITHMS)
        raise SpreadError(f"{file}: no algorithm {fields['algorithm']!r}: `tsig-keygen` knows ({known})")
    try:
        return Key(name, fields["secret"], fields["algorithm"])
    except (DNSException, ValueError) as error:
        raise SpreadError(f"{file}: {error}: `tsig-keygen NAME` writes a right one") from error
