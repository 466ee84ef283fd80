"""The record of a cluster's nodes: who gets in, who is taken out, and that two alone are alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fttcp.ownership.members import MOST_NODES, Members, MembersError

PAIR = Members().tell("beta", ["alpha"]).tell("alpha", ["beta"])
NODES = [f"n{i}" for i in range(MOST_NODES + 2)]


def test_the_first_nodes_have_their_places_in_the_order_of_names() -> None:
    assert PAIR.names == ("alpha", "beta")
    assert (PAIR.named_by("alpha"), PAIR.named_by("beta")) == ({"beta"}, {"alpha"})


def test_who_has_not_told_yet_may_own_nothing() -> None:
    record = Members().tell("alpha", ["beta"])
    assert record.refusal("alpha") == "" and "has not told" in record.refusal("beta")
    assert "no member" in record.refusal("gamma")
    assert Members().refusal("gamma") == "", "nobody has told: whoever comes first may"


def test_two_are_not_alone_while_a_third_one_stands_in_a_record_of_a_group() -> None:
    """One of a release that tells nothing: it may serve."""
    record = Members().tell("beta", ["alpha"], owners={"gamma"}).tell("alpha", ["beta"], owners={"gamma"})
    assert record.leaves_to("alpha") == record.leaves_to("beta") == set()
    assert record.tell("beta", ["alpha"], owners={"alpha"}).leaves_to("alpha") == {"beta"}


def test_a_node_gets_in_once_a_member_names_it_and_keeps_the_others_places() -> None:
    with pytest.raises(MembersError, match=r"add gamma as \[\[peer\]\] there"):
        PAIR.tell("gamma", ["alpha", "beta"])
    named = PAIR.tell("alpha", ["beta", "gamma"])
    joined = named.tell("gamma", ["alpha", "beta"])
    assert joined.names == ("alpha", "beta", "gamma") and joined.named_by("gamma") == {"alpha", "beta"}


def test_a_node_is_out_once_nobody_names_it_and_its_place_is_free() -> None:
    three = (
        PAIR.tell("alpha", ["beta", "gamma"])
        .tell("gamma", ["alpha", "beta"])
        .tell("beta", ["alpha", "gamma"])
    )
    one_left = three.tell("beta", ["alpha"])
    assert one_left.refusal("gamma") == "", "alpha still names it"
    gone = one_left.tell("alpha", ["beta"])
    assert gone.names == ("alpha", "beta", "") and "no member" in gone.refusal("gamma")
    assert gone.tell("alpha", ["beta", "delta"]).place("delta") == 2


def test_who_stands_in_a_record_of_a_group_is_not_taken_out() -> None:
    record = PAIR.tell("alpha", ["beta", "gamma"]).tell("gamma", ["alpha", "beta"])
    with pytest.raises(MembersError, match="fttcp switchover"):
        record.tell("alpha", ["beta"], owners={"gamma"})
    with pytest.raises(MembersError, match="fttcp switchover"):
        record.forget("gamma", "alpha", owners={"gamma"})


def test_what_a_dead_node_told_can_be_forgotten() -> None:
    record = PAIR.tell("alpha", ["beta", "gamma"]).tell("gamma", ["alpha", "beta"])
    record = record.tell("beta", ["alpha", "gamma"]).tell("alpha", ["beta"])
    assert record.refusal("gamma") == "", "beta, which has died, names it"
    left = record.forget("beta", "alpha")
    assert left.names == ("alpha", "beta", "") and "has not told" in left.refusal("beta")
    assert Members().tell("a", ["b"]).forget("b", "c").forget("a", "c").names == ("", "b")
    with pytest.raises(MembersError, match="members: alpha, beta"):
        PAIR.forget("gamma", "alpha")


def test_a_cluster_has_eight_nodes_at_most() -> None:
    record = Members().tell("n0", NODES[1:MOST_NODES])
    with pytest.raises(MembersError, match="more than 8 nodes"):
        record.tell("n0", NODES[1 : MOST_NODES + 1])


def test_a_third_node_owns_nothing_before_both_that_were_alone_are_apart() -> None:
    assert PAIR.leaves_to("alpha") == {"beta"} and PAIR.leaves_to("beta") == {"alpha"}
    three = PAIR.tell("alpha", ["beta", "gamma"]).tell("gamma", ["alpha", "beta"])
    assert three.leaves_to("beta") == set() and three.ends("beta")
    assert "beta may not know yet" in three.refusal("gamma") and not three.refusal("alpha")
    assert three.tell("beta", ["alpha"], apart=False).refusal("gamma"), "it still leaves things to alpha"
    assert not three.tell("beta", ["alpha"]).refusal("gamma"), "whatever its file names"
    assert not three.forget("beta", "alpha").refusal("gamma")


deeds = st.lists(
    st.tuples(
        st.sampled_from(NODES), st.sets(st.sampled_from(NODES), max_size=4), st.booleans(), st.booleans()
    ),
    max_size=30,
)


@settings(deadline=None)
@given(deeds, st.sets(st.sampled_from(NODES), max_size=2))
def test_who_leaves_a_group_to_another_one_is_alone_with_it_and_places_never_move(
    todo: list[tuple[str, set[str], bool, bool]], owners: set[str]
) -> None:
    """``may``: who may still go by what it once read, since nobody but itself has ended that."""
    record, may = Members(), dict[str, str]()
    for by, peers, takes_out, apart in todo:
        before = record
        try:
            if takes_out:
                record = before.forget(by, min(peers, default=""), owners)
            else:
                record = before.tell(by, sorted(peers - {by}), apart, owners)
        except MembersError:
            continue
        assert record.version == before.version + 1
        assert len(record.names) == len(record.named) <= MOST_NODES
        present = [name for name in record.names if name]
        assert len(set(present)) == len(present)
        for name in set(present).intersection(before.names):
            assert record.place(name) == before.place(name), name
        assert not owners.intersection(before.names).difference(record.names)
        if takes_out or apart:
            may.pop(by, None)
        may = {name: other for name, other in may.items() if name in present}
        may |= {name: min(other) for name in present if (other := record.leaves_to(name))}
        for name, other in may.items():
            owning = {one for one in present if not record.refusal(one)}
            assert owning <= {name, other}, f"a third may own what {name} leaves to {other}"
