exec(open("/tmp/wt/safe/tuner_edit1.py").read().split("sub(\"clprune")[0])
sub("CHANGELOG.md",
("""  network itself. Results of databases of before are dropped.
""", """  network itself. Results of databases of before are dropped. What only the last comparisons measured is a candidate too:
  it is counted, kept and written to T4 files.
"""))
