"""A pair as ordinary classes of mininet: hosts, links, a topology, and a network that knows faults.

Debian's /usr/bin/python3 has mininet (package `mininet`); any other Python of the same version finds it
there.
"""

import sys

if "mininet" not in sys.modules:
    sys.path.append("/usr/lib/python3/dist-packages")  # behind all others: nothing of theirs is replaced
