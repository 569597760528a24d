"""Lexicon and codebook: data only."""
