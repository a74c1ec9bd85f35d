"""The durable base of every workflow: carried state, an inbox, continue-as-new, safe queries."""
