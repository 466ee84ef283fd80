"""A lab from start to end: what tests, the campaign, the demo and the command line use."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lab import links, network, segments
from lab.control import NoAnswerError, ask
from lab.errors import LabError
from lab.hosts import Host, Process, await_condition, forget
from lab.interrupt import uninterrupted
from lab.network import ALL_NODES, ARBITERS, CLIENT, ETCD, NODES, SWITCH, WITNESS
from lab.nodeconfig import (
    DEFAULT_SERVE,
    GROUP,
    RUN_DIR,
    check_settings,
    etcd_command,
    etcd_settings,
    has_standby,
    write_node_files,
    write_witness_files,
)
from lab.rootless import become_root, in_child
from lab.state import LABS, HostRecord, LabState, ProcessId, directory, locked
from lab.status import Status, condition_of, groups_of, summary

EXEC_S = 300.0
"""How long a command in a host may take, where its caller does not say."""
ROLES = ("primary", "backup", "spare")
"""Hosts can be named by them: the spare is the first of those that have no part in the pair."""


_ROLE_S = 3.0
"""For so long nobody may have a role, or say so."""


class Lab:
    """One lab by its name; any number of processes may hold a Lab of the same name."""

    def __init__(self, name: str = "default") -> None:
        self.name = name
        self.home = directory(name)
        self._children: list[subprocess.Popen[Any]] = []
        self.programs: dict[str, list[str]] = {}
        """The command of fttcp by hosts; where none is named it is that of this installation."""

    # ---- start and end

    def up(
        self,
        serve: Sequence[str] = (),
        settings: Sequence[str] = (),
        *,
        wait_s: float = 30.0,
        bare: bool = False,
        keep: bool = False,
        arbiter: str = "none",
        nodes: int = len(NODES),
        prepare: Callable[[Host], None] | None = None,
        more: Sequence[segments.Segment] = (),
    ) -> None:
        """Make the lab, start the daemons, and return when the pair is in step, and the spares wait.

        `serve` are "PORT/PROTO=COMMAND" (none: a web server on port 80), `settings` are KEY=VALUE for the
        generated configuration; `bare` makes hosts and network only, without daemons; `arbiter` "witness"
        or "etcd" adds a host of that name with a real one, which all nodes use; `nodes` is how many there
        are, 2 to 5, and more than two need an arbiter; `prepare` is called with each node before its daemon
        starts, to put files for the server there; `more` are segments beside the first. When it fails or is
        interrupted everything is removed again, unless `keep`. Raises LabError.
        """
        if arbiter not in ("none", *ARBITERS):
            wanted = ", ".join(("none", *ARBITERS))
            raise LabError(f"arbiter {arbiter!r}: the lab has none of that kind; wanted is one of {wanted}")
        names = _node_names(nodes, arbiter, bare)
        state = LabState(self.name, list(serve) or list(DEFAULT_SERVE), list(settings), bare, arbiter, names)
        check_settings(state.serve, state.settings, names)
        if wrong := segments.trouble(more, names):
            raise LabError(wrong)
        state.segments = [segment.as_state() for segment in more]
        if not bare:
            fttcp_program()
        with locked(self.name):
            if self.home.exists():
                raise LabError(
                    f"lab {self.name!r}: there is one in {self.home}; "
                    f"remove it first with: fttcp lab down --name {self.name}"
                )
            self.home.mkdir(mode=0o755)
            state.save()
        try:
            with locked(self.name):
                for name in (SWITCH, CLIENT, *names, *self._arbiter_hosts(state), *segments.hosts(state)):
                    host = self._start_host(state, name)
                    if prepare is not None and name in names:
                        prepare(host)
                if not bare:
                    state.settings = _write_files(self.home, state)
                    if arbiter == WITNESS:
                        self._init_witness()
                    for name in self._daemon_hosts(state):
                        self._start_daemon(state, name)
            if not bare:
                self.wait("synced", wait_s)
        except BaseException:
            if not keep:
                self.down()
            raise

    def down(self) -> bool:
        """Remove the lab and all that belongs to it, whole or half made; False when there was nothing. Who is
        interrupted meanwhile (a second Ctrl-C) has removed it first."""
        with locked(self.name), uninterrupted():
            if not self.home.exists():
                return False
            if (self.home / "lab.json").exists():
                state = LabState.load(self.name)
                for name, record in state.hosts.items():
                    Host(name, self.home / name, record.init).kill()
            for home in self.home.iterdir():
                forget(home)
            shutil.rmtree(self.home)
        self.reap()
        return True

    def restart_host(self, name: str, prepare: Callable[[Host], None] | None = None) -> Host:
        """Make host `name` anew: fresh namespaces and /run, the same disk, links up, a new daemon; `prepare`
        is called before that starts."""
        with locked(self.name):
            state = LabState.load(self.name)
            if name not in self._daemon_hosts(state):
                allowed = " and ".join(self._daemon_hosts(state))
                raise LabError(f"host {name}: only {allowed} can be restarted")
            Host(name, self.home / name, state.hosts[name].init).kill()
            self.reap()
            host = self._start_host(state, name)
            if prepare is not None:
                prepare(host)
            if not state.bare:
                self._start_daemon(state, name)
        return host

    # ---- hosts

    def add_host(self, name: str) -> Host:
        """Make one more host, without a daemon, for what the lab itself does not have; its cables are those
        of `name` in `network.CABLES`. One that is there already goes."""
        with locked(self.name):
            state = LabState.load(self.name)
            if name in state.hosts:
                Host(name, self.home / name, state.hosts[name].init).kill()
            return self._start_host(state, name)

    def host(self, name: str) -> Host:
        """The host `name`: switch, client, a node's, witness if there is one; or that of a role."""
        if name in ROLES:
            name = self.node_in_role(name)
        state = LabState.load(self.name)
        records, hosts = state.hosts, (SWITCH, CLIENT, *state.nodes)
        if name not in (*hosts, *records):
            raise LabError(f"host {name!r}: there is none; hosts are {', '.join((*hosts, *ROLES))}")
        if name not in records:
            raise LabError(
                f"host {name}: it was never made in lab {self.name!r}; take the lab down and up again"
            )
        return Host(name, self.home / name, records[name].init)

    def popen(self, host: str, argv: Sequence[str], **options: Any) -> Process:
        """Start `argv` in `host`; see Host.popen."""
        return self.host(host).popen(argv, **options)

    def exec(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `argv` in `host` to its end, at most `timeout` seconds (EXEC_S); returns status and output
        (text), whatever the status is. Raises LabError when it does not end."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        text = options.pop("input", None)
        timeout_s = options.pop("timeout", EXEC_S)
        if text is not None:
            options["stdin"] = subprocess.PIPE
        with self.popen(host, argv, **options) as process:
            try:
                out, err = process.communicate(text, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise LabError(f"host {host}: {' '.join(argv)}: no end after {timeout_s:g} s") from None
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def keep_child(self, process: subprocess.Popen[Any]) -> None:
        """Leave `process` to itself: it lives with its host, and reap() collects it when it has ended."""
        self._children.append(process)

    def reap(self) -> None:
        """Collect those of our own children that have ended."""
        self._children = [child for child in self._children if child.poll() is None]

    # ---- daemons

    def ask(self, node: str, request: dict[str, Any], timeout_s: float = 0.5) -> dict[str, Any]:
        """Put a question to the daemon of `node` over its control socket."""
        return ask(
            self.home / node / "run" / Path(RUN_DIR).relative_to("/run") / "control.sock", request, timeout_s
        )

    def node_process(self, node: str) -> ProcessId:
        """The daemon of `node` (or of the witness); raises LabError when it does not run."""
        process = LabState.load(self.name).hosts[node].node
        if process is None or not process.alive():
            raise LabError(
                f"host {node}: its daemon does not run; see: fttcp lab logs {node}; "
                f"start anew with: fttcp lab fault restart-host {node}"
            )
        return process

    def _require_daemon(self, node: str) -> None:
        """Raise LabError with its last words when the daemon of `node` has ended."""
        try:
            self.node_process(node)
        except LabError:
            raise LabError(
                f"host {node}: its daemon has ended; its last words: {self._log_tail(node, 1)}"
            ) from None

    def status(self) -> Status:
        """What all daemons say: {"nodes": [{"node", "alive", "groups": [...]}]}."""
        nodes = []
        for node in self.nodes():
            try:
                nodes.append({"node": node, "alive": True, "groups": [], **self.ask(node, {"op": "status"})})
            except NoAnswerError as error:
                nodes.append({"node": node, "alive": False, "groups": [], "reason": str(error)})
        return {"nodes": nodes}

    def node_in_role(self, role: str) -> str:
        """The node that is "primary", "backup" or "spare" of the lab's group: that one of several which is in
        step, or has the highest epoch; of spares the first in line. A node that has just joined passes for
        the backup while there is no better one. Who is in the middle of something is asked again."""
        deadline = time.monotonic() + _ROLE_S
        while not (claims := self._claims(role, status := self.status())):
            if time.monotonic() > deadline:
                raise LabError(
                    f"no node is {role} now ({summary(status)}); see: fttcp lab status --name {self.name}"
                )
            time.sleep(0.05)
        return str(max(claims)[1])

    def _claims(self, role: str, status: Status) -> list[tuple[Any, str]]:
        groups = [(node["node"], group) for node, group in groups_of(status)]
        if role == "spare":
            waiting = [name for name, group in groups if group["role"] == "backup" and not group["synced"]]
            return [(-self.nodes().index(name), name) for name in waiting]
        return [
            ((group["synced"], group["epoch"]) if role == "backup" else group["epoch"], name)
            for name, group in groups
            if group["role"] == role
        ]

    def wait(self, condition: str, timeout_s: float = 30.0) -> Status:
        """Return the status in which `condition` holds: "synced" (everybody is there and in its place),
        "paired" (two nodes are in step, whatever the others do), or "primary=HOST".

        Raises LabError after `timeout_s`, or at once when a daemon that is needed for it has ended.
        """
        nodes = self.nodes()
        holds, needed = condition_of(condition, nodes)
        latest: Status = {"nodes": []}

        def check() -> bool:
            nonlocal latest
            latest = self.status()
            if holds(latest):
                return True
            for node in needed:
                self._require_daemon(node)
            return False

        try:
            await_condition(check, timeout_s, f"lab {self.name!r}: waiting for {condition}", interval_s=0.02)
        except LabError as error:
            tails = "".join(f"\n--- last lines of {self.log(node)}\n{self._log_tail(node)}" for node in nodes)
            raise LabError(f"{error}\nstate: {summary(latest)}{tails}") from error
        return latest

    def log(self, host: str) -> Path:
        """The log file of the daemon of `host`."""
        if host in ROLES:
            host = self.node_in_role(host)
        daemons = self.daemon_hosts()
        if host not in daemons:
            raise LabError(f"host {host!r}: it has no daemon, so no log; daemons are on {', '.join(daemons)}")
        return self.home / host / "log" / (f"{host}.log" if host in ARBITERS else "node.log")

    def env(self) -> dict[str, str]:
        """The addresses and processes of the lab, by the names that `fttcp lab env` prints."""
        state = LabState.load(self.name)
        hosts = state.hosts
        addresses = {(cable.host, cable.link): str(cable.address4.ip) for cable in network.CABLES}
        addresses6 = {(cable.host, cable.link): str(cable.address6.ip) for cable in network.CABLES}
        values = {"SERVICE4": network.SERVICE4, "SERVICE6": network.SERVICE6}
        for host in (CLIENT, *state.nodes):
            values[f"{host.upper()}4"] = addresses[host, network.SERVICE_LINK]
            values[f"{host.upper()}6"] = addresses6[host, network.SERVICE_LINK]
        for node in state.nodes:
            values[f"{node.upper()}_PEER4"] = addresses[node, network.PEER_LINK]
            values[f"{node.upper()}_PEER6"] = addresses6[node, network.PEER_LINK]
        for arbiter in set(ARBITERS).intersection(hosts):
            values[f"{arbiter.upper()}4"] = addresses[arbiter, network.ARBITER_LINK]
            values[f"{arbiter.upper()}6"] = addresses6[arbiter, network.ARBITER_LINK]
        values |= {"LAB_NAME": self.name, "LAB_DIR": str(self.home), "GROUP": GROUP}
        return values | {f"{host.upper()}_PID": str(record.init.pid) for host, record in hosts.items()}

    # ---- parts

    def _start_host(self, state: LabState, name: str) -> Host:
        def record(init: ProcessId) -> None:
            state.hosts[name] = HostRecord(init)
            state.save()

        host = Host.start(name, self.home / name, record)
        if name == SWITCH:
            network.build_switch(host)
            segments.build(self, host, state)
        else:
            switch = self.host(SWITCH)
            network.connect(switch, host, has_standby(name, state.settings, state.nodes))
            segments.place(self, switch, host, state)
            links.restore(self, name, state)
        return host

    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes, in their order."""
        return tuple(LabState.load(self.name).nodes)

    def daemon_hosts(self) -> tuple[str, ...]:
        """The hosts with a daemon: the nodes, and before them the arbiter if the lab has one."""
        return self._daemon_hosts(LabState.load(self.name))

    @staticmethod
    def _daemon_hosts(state: LabState) -> tuple[str, ...]:
        return (*Lab._arbiter_hosts(state), *state.nodes)

    @staticmethod
    def _arbiter_hosts(state: LabState) -> tuple[str, ...]:
        return (state.arbiter,) if state.arbiter in ARBITERS else ()

    def _init_witness(self) -> None:
        done = self.exec(WITNESS, [*self._daemon_command(WITNESS), "--init"], cwd="/")
        if done.returncode != 0:
            raise LabError(f"host {WITNESS}: cannot make its data file: {done.stderr.strip()}")

    def _daemon_command(self, name: str) -> list[str]:
        if name == ETCD:
            return etcd_command(self.home / name)
        kind = "witness" if name == WITNESS else "node"
        program = self.programs.get(name) or [fttcp_program()]
        return [*program, kind, "--config", str(self.home / name / f"{kind}.toml")]

    def _start_daemon(self, state: LabState, name: str) -> None:
        host = self.host(name)
        command = self._daemon_command(name)
        with self.log(name).open("ab") as log:
            daemon = host.popen(
                command,
                cwd=host.home / "root",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.keep_child(daemon)
        state.hosts[name].node = ProcessId.of(daemon.pid)
        state.save()

    def _log_tail(self, node: str, lines: int = 15) -> str:
        path = self.log(node)
        return (
            "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(none)"
        )


def fttcp_program() -> str:
    """The path of the fttcp command of this installation; raises LabError when it is not built."""
    beside = Path(sys.executable).with_name("fttcp")
    built = Path(__file__).parents[1] / ".venv" / "bin" / "fttcp"
    for candidate in (beside, built):
        if candidate.exists():
            return str(candidate)
    found = shutil.which("fttcp")
    if found is None:
        raise LabError(
            f"the fttcp command is neither {beside} nor {built} nor in PATH; build it with: make build"
        )
    return found


def rehearse(serve: Sequence[str], settings: Sequence[str], arbiter: str, nodes: int) -> None:
    """Raise LabError when `Lab.up` would refuse these, or a daemon would end at once because a program is not
    there; nothing is made."""
    from fttcp.config import load
    from fttcp.config.present import what_is_missing

    names = _node_names(nodes, arbiter, bare=False)
    state = LabState("rehearsal", list(serve), list(settings), arbiter=arbiter, nodes=names)
    check_settings(state.serve, state.settings, names)
    with TemporaryDirectory() as home:
        for name in (*names, *ARBITERS):
            Path(home, name).mkdir()
        _write_files(Path(home), state)
        if missing := next(what_is_missing(load(Path(home, names[0], "node.toml"))), None):
            raise LabError(missing)


def remove_stale(kind: str) -> None:
    """Remove the labs KIND-PID or KIND-PID-... whose maker, of that PID, was killed: nobody else will. To be
    called before `become_root`: each may be in a user namespace of its own."""
    for home in LABS.glob(f"{kind}-*"):
        owner = home.name.removeprefix(f"{kind}-").partition("-")[0]
        if home.is_dir() and owner.isdecimal() and not Path("/proc", owner).exists():
            if os.geteuid() == 0:
                Lab(home.name).down()
            else:
                in_child(partial(_remove, home.name))


def _remove(name: str) -> None:
    become_root(name=name)
    Lab(name).down()


def _write_files(home: Path, state: LabState) -> list[str]:
    """Write the files of all daemons to the hosts' directories in `home`; return the settings of the nodes.
    Raises LabError when a daemon would refuse them."""
    settings = state.settings
    if state.arbiter == WITNESS:
        settings = write_witness_files(home, settings, state.nodes)
    elif state.arbiter == ETCD:
        settings = etcd_settings(settings)
    key = secrets.token_hex(32)
    for node in state.nodes:
        _check_config(write_node_files(node, home / node, key, state.serve, settings, state.nodes))
    return settings


def _check_config(file: Path) -> None:
    """Raise LabError when a daemon would refuse this configuration."""
    from fttcp.config import ConfigError, load  # not for mininet's Python, which lacks its libraries

    try:
        load(file)
    except ConfigError as error:
        told = "\n".join(one.removeprefix(f"{file}: ") for one in error.errors)
        raise LabError(f"a setting or a server does not fit: {told}") from error


def _node_names(count: int, arbiter: str, bare: bool) -> list[str]:
    """The names of so many nodes; raises LabError when there cannot be so many."""
    if not len(NODES) <= count <= len(ALL_NODES):
        raise LabError(f"nodes {count}: allowed are {len(NODES)} to {len(ALL_NODES)}")
    if count > len(NODES) and arbiter == "none" and not bare:
        raise LabError(f"nodes {count}: more than two need an arbiter: {' or '.join(ARBITERS)}")
    return list(ALL_NODES[:count])
