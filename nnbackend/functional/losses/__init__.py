r"""Losses: how far predictions are from targets, one number for each sample.

Predictions come first, targets second. The last axis holds the classes or outputs and is reduced; means over
samples are left to the caller.
"""
