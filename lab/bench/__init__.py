"""``fttcp bench``: what a client notices of a fault, and what protection costs, side by side with the plain
server and with what one would use instead. Every row says what was measured; nothing is judged.
"""
