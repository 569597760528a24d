"""The model catalogue, its fetcher, and everything that reads or writes adapters."""
