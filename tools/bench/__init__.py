"""Benchmarks beside other engines: each in a process of its own, asked in turns, with goals and a report.

Run as modules, such as `python -m tools.bench.peers`; other engines are imported by their adapters in `peers` alone.
"""
