"""Each table of a group can be written down, whatever the group has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fttcp.network.tables import contents, plan
from tests.unit.test_rules import GROUP

UDP = replace(GROUP, ports=((69, 69, "udp"),), mirror_gateway4=None, mirror_gateway6=None)


@pytest.mark.parametrize(
    "group",
    [
        GROUP,
        UDP,
        replace(GROUP, peer_interface="svc0"),
        replace(GROUP, workers=3),
        replace(GROUP, mac=bytes.fromhex("02000000000a")),
        replace(GROUP, opens=((25, 25, "tcp"), (1024, 65535, "tcp"))),
    ],
)
def test_each_table_has_what_the_kernel_is_told(group: object) -> None:
    for table in plan(group):  # type: ignore[arg-type]
        assert all(message.attributes for message in contents(group, table))  # type: ignore[arg-type]
