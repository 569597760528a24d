"""Hypertokens: found in an archive's chains, met in new text, spoken back; and folding without loss."""
