"""``python -m lab.bench``: the same as ``fttcp bench``."""

from lab.bench.cli import bench

if __name__ == "__main__":
    bench()
