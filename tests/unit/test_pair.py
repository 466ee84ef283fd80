"""The role machine, rule by rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership.model import (
    NS_PER_MS,
    Body,
    Cause,
    EngineMode,
    Lease,
    Mode,
    Phase,
    Refusal,
    Role,
    Settings,
)
from fttcp.ownership.moment import EQUAL_NS
from fttcp.ownership.ownership import Outcome
from fttcp.ownership.pair import PairMachine

D = 100 * NS_PER_MS
BOOT = 7
SETTINGS = Settings("web", "alpha", ("beta",), 100, D, 1000, 500 * NS_PER_MS, boot_id=BOOT)

ASKING = (do.Propose, do.Inquire, do.StoreEpoch, do.LookAtFlows)


class Driver:
    """A machine with a clock that only moves when told; pulses as the runtime does."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.now = 10**12
        self.machine = PairMachine(settings, self.now)
        self.step(ev.Started(), ev.CarrierChanged(True), ev.ServerRecovered())

    def step(self, *events: ev.Event) -> list[do.Command]:
        """Feed events; the disk answers at once, and so does the arbiter: yes. All connections are equal."""
        out: list[do.Command] = []
        waiting = list(events)
        while waiting:
            commands = self.machine.step(waiting.pop(0), self.now)
            out += [c for c in commands if not isinstance(c, ASKING)]
            waiting = [*(self.answer(c) for c in commands if isinstance(c, ASKING)), *waiting]
        return out

    def answer(self, command: do.Command) -> ev.Event:
        match command:
            case do.StoreEpoch(epoch=epoch):
                return ev.EpochStored(epoch)
            case do.LookAtFlows():
                return ev.FlowsSeen()
            case do.Propose(request=number, wanted=wanted):
                return ev.ArbiterAnswered(number, Outcome.WON, wanted)
        assert isinstance(command, do.Inquire)
        return ev.ArbiterAnswered(command.request, Outcome.WON, self.machine.arbitration.record)

    def wait(self, duration: int) -> list[do.Command]:
        """Let time pass, with the pulses that the machine asks for."""
        out: list[do.Command] = []
        end = self.now + duration
        while (deadline := self.machine.deadline_ns()) is not None and deadline <= end:
            self.now = deadline
            out += self.step(ev.DeadlineReached())
        self.now = end
        return out

    def peer(self, **changes: object) -> Body:
        idle = Body("web", "beta", Role.BACKUP, Mode.IDLE, 0, 0, True, True, 50, 3)
        return idle._replace(**changes)  # type: ignore[arg-type]

    def hear(self, **changes: object) -> list[do.Command]:
        """Hear the peer on both links, saying this."""
        said = ev.PeerStated(self.peer(**changes))
        return self.step(ev.PeerHeard(7), ev.LinkFound(0), ev.LinkFound(1), said)

    def lose(self) -> list[do.Command]:
        """Let the peer fall silent for exactly as long as it takes."""
        heard = self.now
        self.wait(self.machine.settings.patience_ns)
        return self.step(ev.LossNoticed(), ev.PeerLost(self.now - heard, self.now, heard))


def primary() -> Driver:
    """A primary in step with its backup."""
    driver = Driver()
    driver.wait(SETTINGS.startup_wait_ns)
    assert driver.machine.phase is Phase.SOLO
    driver.hear()
    assert driver.machine.phase is Phase.PAIRING
    driver.hear(mode=Mode.PAIRING, session=driver.machine.session)
    assert driver.machine.phase is Phase.PAIRED
    driver.wait(EQUAL_NS)
    return driver


def backup() -> Driver:
    """A backup in step with its primary."""
    driver = Driver()
    driver.wait(SETTINGS.settle_ns)
    driver.hear(role=Role.PRIMARY, mode=Mode.PAIRING, epoch=2, session=99)
    assert driver.machine.phase is Phase.FOLLOWING and not driver.machine.in_step
    driver.hear(role=Role.PRIMARY, mode=Mode.PAIRED, epoch=2, session=99)
    assert driver.machine.in_step
    return driver


def engine_orders(commands: list[do.Command]) -> list[do.Command]:
    return [c for c in commands if isinstance(c, do.SetLease | do.SetMode | do.Announce)]


def test_alone_it_serves_after_the_startup_wait_and_not_before() -> None:
    driver = Driver()
    assert not engine_orders(driver.wait(SETTINGS.startup_wait_ns - 1))
    orders = engine_orders(driver.wait(1))
    assert orders == [do.SetLease(Lease.SELF), do.SetMode(EngineMode.SOLO, 0), do.Announce()]


def test_without_a_healthy_server_nobody_is_primary() -> None:
    driver = Driver()
    driver.step(ev.ServerFailed(Cause.SERVER_DIED))
    driver.wait(10 * SETTINGS.startup_wait_ns)
    assert driver.machine.phase is Phase.LISTENING


def test_of_two_that_start_the_higher_priority_owns() -> None:
    first, second = Driver(), Driver(replace(SETTINGS, name="beta", peers=("alpha",), priority=10))
    first.hear(role=Role.STARTING, priority=10)
    second.step(ev.PeerHeard(7), ev.PeerStated(second.peer(name="alpha", role=Role.STARTING, priority=100)))
    first.wait(SETTINGS.settle_ns)
    second.wait(5 * SETTINGS.startup_wait_ns)
    assert first.machine.phase is Phase.SOLO
    assert second.machine.phase is Phase.LISTENING


@pytest.mark.parametrize("comes_up", [True, False])
def test_with_an_arbiter_the_higher_priority_is_waited_for_while_its_server_starts(comes_up: bool) -> None:
    low = Driver(replace(SETTINGS, solo_lease_ns=10 * D, priority=10))
    low.hear(role=Role.STARTING, priority=100, healthy=False)
    low.wait(SETTINGS.startup_wait_ns - D)  # it has heard the other for long enough to go first
    assert low.machine.phase is Phase.LISTENING
    if comes_up:
        low.hear(role=Role.STARTING, priority=100, healthy=True)
    low.wait(2 * D)
    assert low.machine.phase is (Phase.LISTENING if comes_up else Phase.SOLO)


def test_pairing_gives_up_the_own_lease() -> None:
    driver = primary()
    assert driver.machine.epoch % 2 == 1
    assert driver.machine.in_step


def test_a_takeover_is_told_before_the_gate_opens() -> None:
    driver = backup()
    commands = driver.lose()
    withdrawn, unheard, told = (command for command in commands if isinstance(command, do.Publish))
    assert commands[0] is withdrawn and not withdrawn.grant_to  # before the arbiter is asked
    assert commands[1] is unheard and not unheard.grant_to and unheard.body.links == 0
    assert commands[2] is told and not told.grant_to and told.body.mode is Mode.SOLO
    assert commands[3:6] == [do.SetLease(Lease.SELF), do.SetMode(EngineMode.SOLO, 99), do.Announce()]
    record = next(c for c in commands if isinstance(c, do.NoteTakeover))
    assert record.cause is Cause.PEER_LOST and record.detected_ns - record.zero_ns == SETTINGS.patience_ns


def test_only_a_backup_in_step_asks_beforehand_what_can_be() -> None:
    assert backup().step(ev.PeerQuiet()) == [do.Anticipate()]
    assert primary().step(ev.PeerQuiet()) == []
    unconfirmed = Driver()
    unconfirmed.hear(role=Role.PRIMARY, mode=Mode.PAIRING, epoch=2, session=99)
    assert unconfirmed.step(ev.PeerQuiet()) == []


def test_a_loss_that_a_heartbeat_contradicts_is_void_and_the_grant_is_renewed() -> None:
    driver = backup()
    lost = driver.now
    driver.wait(SETTINGS.patience_ns)
    (withdrawn,) = driver.step(ev.LossNoticed())
    assert isinstance(withdrawn, do.Publish) and not withdrawn.grant_to and not withdrawn.body.yields
    (given,) = driver.step(ev.PeerLost(SETTINGS.patience_ns, driver.now, lost + 1))
    assert driver.machine.phase is Phase.FOLLOWING
    assert isinstance(given, do.Publish) and given.grant_to and given.body.yields


def test_a_halted_backup_does_not_take_over_on_old_news() -> None:
    driver = backup()
    heard = driver.now
    driver.now += 3 * D  # no pulses: the node was halted
    driver.step(ev.LossNoticed(), ev.PeerLost(3 * D, driver.now, heard))
    assert driver.machine.phase is not Phase.SOLO


def test_an_unconfirmed_backup_does_not_take_the_flows_over() -> None:
    driver = Driver()
    driver.hear(role=Role.PRIMARY, mode=Mode.PAIRING, epoch=2, session=99)
    driver.lose()
    assert driver.machine.phase is Phase.LISTENING


def test_primary_that_loses_its_backup_serves_alone_with_its_flows() -> None:
    driver = primary()
    session, before = driver.machine.session, driver.machine.epoch
    assert engine_orders(driver.lose()) == [do.SetLease(Lease.SELF), do.SetMode(EngineMode.SOLO, session)]
    assert driver.machine.epoch > before


def test_primary_without_carrier_keeps_the_gate_shut() -> None:
    driver = primary()
    driver.step(ev.LinkLost(1), ev.CarrierChanged(False))
    assert driver.machine.phase is Phase.HANDOVER
    driver.lose()
    driver.wait(10 * D)
    assert driver.machine.phase is Phase.LISTENING


def test_server_death_hands_over_at_once() -> None:
    driver = primary()
    commands = driver.step(ev.ServerFailed(Cause.SERVER_DIED))
    assert commands[:2] == [do.Vouch(False), do.SetLease(Lease.NONE)]
    offer = commands[-1]
    assert isinstance(offer, do.Publish) and offer.body.mode is Mode.HANDOVER
    assert offer.body.reason is Cause.SERVER_DIED
    driver.hear(role=Role.PRIMARY, mode=Mode.SOLO, epoch=offer.body.epoch + 1)
    assert driver.machine.phase is Phase.JOINING


def test_an_offer_to_an_earlier_boot_is_none() -> None:
    """It was recorded: whoever made it may serve again by now."""
    for started in (
        {"role": Role.STARTING, "mode": Mode.HANDOVER, "offer": 4},
        {"role": Role.PRIMARY, "mode": Mode.HANDOVER, "epoch": 4, "offer": 4, "partner": "alpha"},
    ):
        driver = Driver()
        driver.wait(SETTINGS.settle_ns)
        driver.hear(**started, offered_to=BOOT - 1)
        driver.wait(10 * D)
        assert driver.machine.phase in (Phase.LISTENING, Phase.JOINING)
        driver.hear(**started, offered_to=BOOT)
        assert driver.machine.phase is Phase.SOLO


def test_backup_takes_an_offer_or_declines_it_for_good() -> None:
    offer = {"role": Role.PRIMARY, "mode": Mode.HANDOVER, "epoch": 4, "session": 99, "offer": 4}
    offer |= {"offered_to": BOOT}
    taker = backup()
    assert any(isinstance(c, do.Announce) for c in taker.hear(**offer))
    decliner = backup()
    decliner.step(ev.CarrierChanged(False))
    commands = decliner.hear(**offer)
    assert isinstance(commands[-1], do.Publish) and commands[-1].body.refused == 4
    decliner.step(ev.CarrierChanged(True))
    decliner.wait(10 * D)
    assert decliner.machine.phase is Phase.FOLLOWING


def test_a_declined_primary_goes_on() -> None:
    driver = primary()
    driver.step(ev.SwitchoverRequested(5))
    driver.hear(
        mode=Mode.PAIRED, session=driver.machine.session, refused=driver.machine.body(driver.now).offer
    )
    assert driver.machine.phase is Phase.PAIRED


def test_switchover_is_refused_with_a_reason() -> None:
    assert Driver().step(ev.SwitchoverRequested(5))[0] == do.Refuse(Refusal.NOT_PAIRED)


def test_a_request_travels_from_the_backup_to_the_primary() -> None:
    asker = backup()
    asked = asker.step(ev.SwitchoverRequested(5))[-1]
    assert isinstance(asked, do.Publish) and asked.body.request == 5
    asked_primary = primary()
    session = asked_primary.machine.session
    asked_primary.hear(mode=Mode.PAIRED, session=session, request=5)
    assert asked_primary.machine.phase is Phase.HANDOVER


def test_broken_peer_link_unpairs_without_a_gap() -> None:
    driver = primary()
    session = driver.machine.session
    assert not engine_orders(driver.step(ev.LinkLost(0)))
    assert driver.machine.phase is Phase.UNPAIRING
    orders = engine_orders(driver.hear(session=0))
    assert orders == [do.SetLease(Lease.SELF), do.SetMode(EngineMode.SOLO, session)]


def test_a_backup_whose_server_died_drops_by_itself() -> None:
    commands = backup().step(ev.ServerFailed(Cause.SERVER_DIED))
    assert do.SetMode(EngineMode.IDLE, 0) in commands
    assert (
        isinstance(commands[-1], do.Publish) and not commands[-1].grant_to and commands[-1].body.session == 0
    )


def test_of_two_owners_the_lower_epoch_yields() -> None:
    driver = Driver()
    driver.wait(SETTINGS.startup_wait_ns)
    commands = driver.hear(role=Role.PRIMARY, mode=Mode.SOLO, epoch=10)
    assert engine_orders(commands) == [do.SetLease(Lease.NONE), do.SetMode(EngineMode.IDLE, 0)]
    other = Driver()
    other.wait(SETTINGS.startup_wait_ns)
    other.hear(role=Role.PRIMARY, mode=Mode.PAIRED, epoch=10)
    assert other.machine.phase is Phase.SOLO and other.machine.epoch == 11


def test_a_lapsed_lease_of_its_own_is_followed_by_listening() -> None:
    driver = Driver()
    driver.wait(SETTINGS.startup_wait_ns)
    driver.now += 2 * D
    assert engine_orders(driver.step(ev.LeaseLapsed(driver.now))) == [do.SetLease(Lease.NONE)]
    driver.wait(SETTINGS.settle_ns)
    assert driver.machine.phase is Phase.SOLO


def test_stop_hands_over_and_finishes_when_taken() -> None:
    driver = primary()
    driver.step(ev.StopRequested())
    assert driver.machine.phase is Phase.HANDOVER
    commands = driver.hear(role=Role.PRIMARY, mode=Mode.SOLO, epoch=driver.machine.epoch + 1)
    assert do.Finish() in commands
    assert driver.step(ev.DeadlineReached()) == []


def test_failover_outlasts_the_grants_before_it_takes_over() -> None:
    driver = backup()
    commands = driver.step(ev.FailoverRequested(9))
    assert isinstance(commands[-1], do.Publish) and not commands[-1].grant_to
    assert not engine_orders(driver.wait(SETTINGS.patience_ns - 1))
    asked = driver.now - SETTINGS.patience_ns + 1
    commands = driver.wait(2)
    assert engine_orders(commands)[0] == do.SetLease(Lease.SELF)
    (takeover,) = (command for command in commands if isinstance(command, do.NoteTakeover))
    assert takeover.cause is Cause.FAILOVER and takeover.zero_ns == asked


def test_a_failover_that_the_server_does_not_survive_is_given_up() -> None:
    driver = backup()
    driver.step(ev.FailoverRequested(9))
    driver.step(ev.MaintenanceChanged(1))
    driver.wait(10 * D)
    assert driver.machine.phase is Phase.FOLLOWING and driver.machine.granting


def test_failover_is_refused_with_a_reason() -> None:
    assert primary().step(ev.FailoverRequested(9)) == [do.Refuse(Refusal.IS_PRIMARY)]
    assert do.Refuse(Refusal.NOT_PAIRED) in Driver().step(ev.FailoverRequested(9))
    joined = Driver()
    joined.wait(SETTINGS.settle_ns)
    joined.hear(role=Role.PRIMARY, mode=Mode.SOLO, epoch=2)
    assert do.Refuse(Refusal.PRIMARY_ALONE) in joined.step(ev.FailoverRequested(9))
    unable = backup()
    unable.step(ev.CarrierChanged(False))
    assert do.Refuse(Refusal.SELF_UNABLE) in unable.step(ev.FailoverRequested(9))


def test_maintenance_keeps_the_roles_until_it_ends() -> None:
    driver = backup()
    commands = driver.step(ev.MaintenanceChanged(1))
    assert do.KeepMaintenance(1) in commands and driver.machine.paused
    for event in (ev.SwitchoverRequested(5), ev.FailoverRequested(9)):
        assert driver.step(event)[0] == do.Refuse(Refusal.PAUSED)
    assert not engine_orders(driver.lose()) and not engine_orders(driver.wait(20 * D))
    assert engine_orders(driver.step(ev.MaintenanceChanged(2)))[0] == do.SetLease(Lease.SELF)


def test_maintenance_is_what_the_peer_says_if_that_is_newer() -> None:
    driver = primary()
    session = driver.machine.session
    commands = driver.hear(mode=Mode.PAIRED, session=session, maintenance=3)
    assert do.KeepMaintenance(3) in commands and driver.machine.paused
    assert not engine_orders(driver.step(ev.ServerFailed(Cause.SERVER_DIED)))  # no hand-over
    assert not driver.step(ev.MaintenanceChanged(2))
    driver.hear(mode=Mode.PAIRED, session=session, maintenance=4)
    assert driver.machine.phase is Phase.HANDOVER


def test_during_maintenance_a_stop_hands_nothing_over() -> None:
    driver = primary()
    driver.step(ev.MaintenanceChanged(1))
    assert do.Finish() in driver.step(ev.StopRequested())


def test_time_that_runs_backwards_fences() -> None:
    driver = primary()
    driver.now -= D
    commands = driver.step(ev.DeadlineReached())
    assert commands[:2] == [do.SetLease(Lease.NONE), do.SetMode(EngineMode.IDLE, 0)]
    assert isinstance(commands[2], do.Fence)


def test_a_primary_without_its_reference_leaves_only_to_a_peer_that_reaches_it() -> None:
    driver = primary()
    session = driver.machine.session
    driver.hear(mode=Mode.PAIRED, session=session, reference=False)
    driver.step(ev.ReferenceChanged(False))
    assert driver.machine.phase is Phase.PAIRED
    commands = driver.hear(mode=Mode.PAIRED, session=session)
    assert driver.machine.phase is Phase.HANDOVER
    said = next(c.body for c in reversed(commands) if isinstance(c, do.Publish))
    assert said.reason is Cause.REFERENCE_LOST and not said.reference


def test_a_server_that_failed_a_check_is_begun_anew_with_the_loss_of_the_role() -> None:
    driver = backup()
    commands = driver.step(ev.ServerFailed(Cause.PROBE_FAILED))
    assert driver.machine.phase is Phase.JOINING and do.RestartServer() in commands


def test_a_server_that_is_about_to_begin_anew_is_not_followed_with() -> None:
    driver = primary()
    session = driver.machine.session
    driver.hear(mode=Mode.PAIRED, session=session)
    commands = driver.hear(role=Role.PRIMARY, mode=Mode.SOLO, epoch=driver.machine.epoch + 2, session=0)
    assert driver.machine.phase is Phase.JOINING and do.RestartServer() in commands
    said = [command.body for command in commands if isinstance(command, do.Publish)]
    assert not any(body.healthy for body in said if body.role is Role.BACKUP)
    commands = driver.step(ev.ServerRecovered())
    assert next(command.body for command in commands if isinstance(command, do.Publish)).healthy


def test_grants_that_came_in_while_the_role_was_offered_are_void_when_the_offer_ends() -> None:
    driver = primary()
    driver.step(ev.ServerFailed(Cause.SERVER_DIED))
    assert driver.machine.phase is Phase.HANDOVER
    assert do.SetLease(Lease.NONE) in driver.hear(session=0)  # it left: silence
    assert driver.machine.phase is Phase.SILENT


class Diskless(Driver):
    """Its disk stores nothing."""

    def answer(self, command: do.Command) -> ev.Event:
        return ev.EpochStored(0) if isinstance(command, do.StoreEpoch) else super().answer(command)


def test_a_backup_that_can_store_no_epoch_declines() -> None:
    driver = Diskless()
    driver.wait(SETTINGS.settle_ns)
    driver.hear(role=Role.PRIMARY, mode=Mode.PAIRING, epoch=2, session=99)
    commands = driver.hear(
        role=Role.PRIMARY, mode=Mode.HANDOVER, epoch=2, session=99, offer=4, offered_to=BOOT
    )
    assert isinstance(commands[-1], do.Publish) and commands[-1].body.refused == 4
