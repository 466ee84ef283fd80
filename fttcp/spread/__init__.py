"""Which groups are served, told to what spreads clients over them: DNS, HAProxy, IPVS."""
