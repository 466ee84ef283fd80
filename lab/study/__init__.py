"""Experiments as files: what is to be tried is written in TOML, run in labs, and kept as a folder with data,
plots and a report.

plan.py reads the file and lists its runs; run.py does one; folder.py keeps what came of them; figures.py and
page.py show it; cli.py is the command line.
"""
