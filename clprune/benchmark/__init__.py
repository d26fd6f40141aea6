"""Benchmarks beside other engines: each in a process of its own, asked in turns, with goals and a report.

`tools/bench_*.py` are thin scripts over this room; other engines are imported by their adapters in `tools/peers`.
"""
