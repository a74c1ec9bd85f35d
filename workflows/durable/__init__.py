"""What every workflow needs to be durable: carried state, an inbox, continue-as-new, safe queries."""
