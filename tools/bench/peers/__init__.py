"""clprune beside other engines: what they are, what they are given, and the rows and goals of a run."""
