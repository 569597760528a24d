"""How a register is judged: perplexity, an independent judge, mixture curves, causality, copying, aptness.

Every figure is a `Figure`: a value, a bootstrap interval, and the number of cases it stands on.
"""
