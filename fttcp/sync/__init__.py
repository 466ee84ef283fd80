"""Directories of the nodes kept identical: by rsync, apart from the daemon that fails over."""
