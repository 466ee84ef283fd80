"""Traffic for the lab: unmodified servers, and clients that verify every byte.

``registry`` names the servers and workloads, ``client`` runs one workload as a process, ``servers/`` holds
the plain test servers, which know nothing of fttcp.
"""
