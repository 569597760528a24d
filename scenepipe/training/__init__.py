"""Training, evaluating and exporting registers."""
