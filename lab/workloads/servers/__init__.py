"""Plain servers used by the workloads; they know nothing of fttcp."""
