"""A network under so many milliseconds with the least loss: what each layer may become, its costs, the choice."""
