"""The kinds of layers: one class each, with all that the formats, pruning and training data need to know of it.

Modules of this folder are found by themselves, and kinds of other packages by their entry points
(`clprune.darknet.registry`). How a kind is computed is told elsewhere: `clprune.plan.lowering`, `clprune.training`.
"""
