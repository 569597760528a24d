"""Fakes and conformance suites, shipped for plug-in authors."""
