"""Who may own a group. Backends implement fttcp.core.arbitration.Arbiter."""
