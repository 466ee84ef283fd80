"""Is the server on this machine alive, listening and running?"""
