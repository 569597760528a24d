"""From a scene to a mixture: what a scene's numbers are, how a register learns its fit, how fits become weights.

features.py     a scene as named numbers
inputs.py       the registers' own inputs, read as scenes once and kept
scorer.py       one register's fit, learned in closed form
calibration.py  how sharp the weights are and what the base gets
explain.py      the reasons of a weight
router.py       all of it together: `Router`
"""
