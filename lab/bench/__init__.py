"""The figures of docs/performance.md: what a client notices of a fault, and what protection costs.

Run it with ``make bench`` or ``python -m lab.bench``. Every figure says what was measured; nothing is judged.
"""
