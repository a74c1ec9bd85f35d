"""Settings from environment variables, checked as a whole."""
