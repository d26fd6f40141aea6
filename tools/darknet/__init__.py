"""Networks of darknet and its forks: which run, how right they are, and what the original libraries compute."""
