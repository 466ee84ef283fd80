"""OCF agents: their meta-data, what they are told, and what their ends mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from fttcp.server.agents import ocf
from fttcp.server.agents.agent import judged
from fttcp.server.agents.ladder import Act, Rung
from fttcp.server.launch import Finished

DOCUMENT = """<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="Disk" version="1.0">
<parameters>
<parameter name="device" required="1"><content type="string"/></parameter>
<parameter name="port" required="0"><content type="integer" default="80"/></parameter>
<parameter name="fast"><content type="boolean"/></parameter>
</parameters>
<actions>
<action name="start" timeout="60s"/><action name="stop" timeout="1min"/><action name="monitor" timeout="20"/>
</actions>
</resource-agent>
"""
DISK = "ocf:example:Disk"


def test_meta_data_is_read_whatever_stands_around_it() -> None:
    known = ocf.read(DISK, f"a warning first\n{DOCUMENT}and one behind")
    assert [(one.name, one.required, one.kind) for one in known.parameters] == [
        ("device", True, "string"),
        ("port", False, "integer"),
        ("fast", False, "boolean"),
    ]
    assert known.timeouts == {"start": 60, "stop": 60, "monitor": 20}


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("", "is no <resource-agent> document"),
        ("<resource-agent><parameters></resource-agent>", "is not XML"),
        (f'<!DOCTYPE x [<!ENTITY a "b">]>{DOCUMENT}', "defines entities"),
    ],
)
def test_meta_data_that_is_none_is_refused(output: str, why: str) -> None:
    with pytest.raises(ocf.AgentError, match=why):
        ocf.read(DISK, output)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("20", 20),
        ("20s", 20),
        ("1500ms", 1.5),
        ("2m", 120),
        ("1h", 3600),
        ("", None),
        ("soon", None),
        ("9" * 5000, None),
    ],
)
def test_times_of_meta_data(text: str, wanted: float | None) -> None:
    assert ocf.seconds(text) == wanted


@pytest.mark.parametrize(
    ("given", "complaints"),
    [
        ({"device": "/dev/sda", "port": 8080, "fast": True}, []),
        ({}, ["agent ocf:example:Disk needs the parameter 'device'"]),
        ({"devic": "/dev/sda"}, ["has no parameter 'devic' (did you mean device?)", "needs the parameter"]),
        (
            {"device": "x", "port": "http"},
            ["parameter 'port' of agent ocf:example:Disk: 'http' is not an integer"],
        ),
        ({"device": "x", "fast": "maybe"}, ["'maybe' is not a boolean"]),
    ],
)
def test_parameters_are_compared_with_the_meta_data(
    given: dict[str, ocf.Value], complaints: list[str]
) -> None:
    found = list(ocf.wrong(DISK, given, ocf.read(DISK, DOCUMENT)))
    assert len(found) == len(complaints)
    assert all(part in sentence for part, sentence in zip(complaints, found, strict=True)), found


def test_what_an_agent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCF_ROOT", "/opt/ocf")
    told = ocf.environment(DISK, "data", {"device": "/dev/sda", "fast": False}, "monitor", 20.0, 10)
    assert told == {
        "OCF_ROOT": "/opt/ocf",
        "OCF_RA_VERSION_MAJOR": "1",
        "OCF_RA_VERSION_MINOR": "1",
        "OCF_RESOURCE_INSTANCE": "data",
        "OCF_RESOURCE_TYPE": "Disk",
        "OCF_RESOURCE_PROVIDER": "example",
        "OCF_CHECK_LEVEL": "0",
        "OCF_RESKEY_CRM_meta_name": "monitor",
        "OCF_RESKEY_CRM_meta_interval": "10000",
        "OCF_RESKEY_CRM_meta_timeout": "20000",
        "OCF_RESKEY_device": "/dev/sda",
        "OCF_RESKEY_fast": "false",
    }


def test_an_agent_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCF_ROOT", str(tmp_path))
    with pytest.raises(ocf.AgentError, match="apt-get install resource-agents, or correct the name"):
        ocf.find(DISK)


@pytest.mark.parametrize(
    ("act", "status", "rung", "absent"),
    [
        (Act.START, 0, Rung.STARTED, False),
        (Act.START, 1, Rung.FAILED, False),
        (Act.START, 5, Rung.FAILED, False),
        (Act.STOP, 0, Rung.STOPPED, False),
        (Act.STOP, 7, Rung.FAILED, False),
        (Act.STATUS, 0, Rung.RUNNING, False),
        (Act.STATUS, 1, Rung.FAILED, False),
        (Act.STATUS, 7, Rung.STOPPED, False),
        (Act.STATUS, 8, Rung.RUNNING, False),
        (Act.STATUS, 9, Rung.FAILED, False),
        *((Act.STATUS, status, Rung.FAILED, True) for status in (2, 3, 4, 5, 6)),
        (Act.STATUS, None, Rung.FAILED, False),
        (Act.STATUS, -9, Rung.FAILED, False),
    ],
)
def test_what_the_end_of_an_action_means(act: Act, status: int | None, rung: Rung, absent: bool) -> None:
    outcome = judged(act, True, Finished(status, ""))
    assert (outcome.rung, outcome.absent) == (rung, absent)
    assert bool(outcome.why) == (status not in (0, 8))


def test_who_ran_and_says_that_it_cannot_run_here_has_failed() -> None:
    outcome = judged(Act.STATUS, False, Finished(5, "nginx: not found"))
    assert (outcome.rung, outcome.absent) == (Rung.FAILED, False)
    assert outcome.why == (
        "its monitor ended with status 5: nginx: not found (what it needs is not installed on this host)"
    )
