"""Tests of credentials, TLS, encryption and limits."""
