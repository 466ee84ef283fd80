"""The lab: a pair of nodes, a client and a switch as hosts on one machine, with real daemons and real faults.

Each host is a set of namespaces (network, mounts, processes) held by one init process. Nothing of the
machine's own network is touched; ``lab.lifecycle.Lab`` is the way in for programs, ``fttcp lab`` for people.
"""
